//! The graph of one network: its layers as ONNX's operators, NCHW, by torchvision's names. Dropout is left out, since a graph infers.
//!
//! It computes nothing but the folding of batch normalisation, and knows nothing of files.

use super::messages::{
    ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS, Attribute, Dimension, FLOAT, FLOAT16, Graph, Node, Shape, Size,
    Tensor, TensorType, Type, UINT8, ValueInfo,
};
use super::options::{Input, Options};
use crate::engine::Normalisation;
use crate::engine::cpu::reference::local_response_normalisation as lrn;
use crate::engine::settling::EPSILON;
use crate::error::{Error, Kind, Result};
use crate::export::{Trained, check_fits, fold};
use crate::vgg::plan::TensorSpec;
use crate::vgg::{self, Layer, Operation};

/// The input's name.
pub const IMAGE: &str = "image";
/// The output's name.
pub const LOGITS: &str = "logits";
/// The free dimension's name.
pub const BATCH: &str = "batch";

/// A graph that grows node by node.
struct Builder {
    graph: Graph,
    /// The type that layers compute in.
    float: i32,
    /// The value that the next node reads.
    last: String,
    /// Whether that has features alone, and no rows and columns.
    flat: bool,
}

/// The graph of `trained`. Errors: a folded weight that is not finite, one beyond f16.
pub fn build(trained: Trained, options: &Options) -> Result<Graph> {
    let Trained { plan, tensors, normalisation, .. } = trained;
    let mut tensors = plan.tensors().into_iter().zip(tensors);
    let graph = Graph { name: plan.network.short_name(), ..Graph::default() };
    let mut builder =
        Builder { graph, float: if options.half { FLOAT16 } else { FLOAT }, last: IMAGE.to_owned(), flat: false };
    builder.input(options.input, plan.network.image_size, normalisation)?;
    let mut layers = plan.layers.iter().peekable();
    while let Some(layer) = layers.next() {
        let mut own: Vec<_> = tensors.by_ref().take(layer.tensors().len()).collect();
        let behind = layers.next_if(|next| options.fold && next.operation == Operation::BatchNorm2d);
        if let (Some(batch_norm), [(_, weight), (_, bias)]) = (behind, &mut own[..]) {
            let statistics: Vec<_> = tensors.by_ref().take(batch_norm.tensors().len()).collect();
            if let [scale, shift, mean, variance] = &statistics[..] {
                fold::into_convolution(weight, bias, [&scale.1, &shift.1, &mean.1, &variance.1]);
            }
        }
        builder.layer(layer, own)?;
    }
    builder.output(plan.network.classes);
    Ok(builder.graph)
}

impl Builder {
    /// The caller's images to what the first layer reads.
    fn input(&mut self, input: Input, size: usize, normalisation: Normalisation) -> Result<()> {
        let (nchw, float) = ([3, size, size], self.float);
        let (of_image, elements) = match input {
            Input::Float => (nchw, FLOAT),
            Input::U8 => ([size, size, 3], UINT8),
        };
        self.graph.input = vec![value(IMAGE, elements, &of_image, input.describe())];
        if input == Input::U8 {
            let [mean, std] = [normalisation.mean, normalisation.std].map(|of| of.map(f64::from));
            let channels = |of: fn(f64, f64) -> f64| {
                #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is asked for")]
                mean.iter().zip(std).map(|(mean, std)| of(*mean, std) as f32).collect::<Vec<_>>()
            };
            self.constant("preprocess.factor", &[1, 3, 1, 1], &channels(|_, std| 1.0 / (255.0 * std)), FLOAT)?;
            self.constant("preprocess.offset", &[1, 3, 1, 1], &channels(|mean, std| mean / std), FLOAT)?;
            self.node("preprocess.transpose", "Transpose", &[], vec![ints("perm", &[0, 3, 1, 2])], UINT8, &nchw);
            self.cast("preprocess.cast", FLOAT, &nchw);
            self.node("preprocess.scale", "Mul", &["preprocess.factor"], Vec::new(), FLOAT, &nchw);
            self.node("preprocess.normalize", "Sub", &["preprocess.offset"], Vec::new(), FLOAT, &nchw);
        }
        if float != FLOAT {
            self.cast("preprocess.half", float, &nchw);
        }
        Ok(())
    }

    /// One layer of the plan, with its tensors.
    fn layer(&mut self, layer: &Layer, tensors: Vec<(TensorSpec, Vec<f32>)>) -> Result<()> {
        let (float, output) = (self.float, self.dimensions(layer.output));
        let names: Vec<String> = tensors.iter().map(|(spec, _)| spec.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (spec, values) in tensors {
            self.constant(&spec.name, &spec.shape, &values, float)?;
        }
        let mut add = |operator, attributes| self.node(&layer.name, operator, &names, attributes, float, &output);
        match layer.operation {
            Operation::Conv2d { kernel } => {
                let pads = [kernel / 2; 4].map(|pad| pad as i64);
                add("Conv", vec![ints("kernel_shape", &[kernel as i64; 2]), ints("pads", &pads)]);
            }
            #[expect(clippy::cast_possible_truncation, reason = "a constant that ONNX has in f32")]
            Operation::BatchNorm2d => add("BatchNormalization", vec![number("epsilon", EPSILON as f32)]),
            Operation::Relu => add("Relu", Vec::new()),
            Operation::LocalResponseNorm => self.local_response_norm(&layer.name, &output),
            Operation::MaxPool2d => add("MaxPool", vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])]),
            Operation::AdaptiveAvgPool2d { size } => {
                // The windows of a known size are those of a plain pooling: as many rows as ceil(in / size), the next window
                // floor(in / size) further, so that two of an odd number of rows share the middle one.
                let (kernel, stride) = (layer.input.height.div_ceil(size), layer.input.height / size);
                let [kernel, stride] = [kernel, stride].map(|rows| [rows as i64; 2]);
                add("AveragePool", vec![ints("kernel_shape", &kernel), ints("strides", &stride)]);
                // Channel first, as the linear weights of plan and file are.
                self.flat = true;
                self.node("flatten", "Flatten", &[], vec![int("axis", 1)], float, &[layer.output.elements()]);
            }
            Operation::Linear => add("Gemm", vec![int("transB", 1)]),
            Operation::Dropout { .. } => {}
        }
        Ok(())
    }

    /// Always in f32: a square of what f16 can hold may be beyond it. ONNX divides alpha by the window's size.
    #[expect(clippy::cast_possible_truncation, reason = "constants that ONNX has in f32")]
    fn local_response_norm(&mut self, name: &str, shape: &[usize]) {
        let attributes = vec![
            number("alpha", (lrn::ALPHA * lrn::SIZE as f64) as f32),
            number("beta", lrn::BETA as f32),
            number("bias", lrn::K as f32),
            int("size", lrn::SIZE as i64),
        ];
        if self.float == FLOAT {
            return self.node(name, "LRN", &[], attributes, FLOAT, shape);
        }
        self.cast(&format!("{name}.single"), FLOAT, shape);
        self.node(name, "LRN", &[], attributes, FLOAT, shape);
        self.cast(&format!("{name}.half"), self.float, shape);
    }

    /// Logits in f32.
    fn output(&mut self, classes: usize) {
        if self.float != FLOAT {
            self.cast(LOGITS, FLOAT, &[classes]);
        }
        if let Some(node) = self.graph.node.last_mut() {
            node.output = vec![LOGITS.to_owned()];
        }
        self.graph.value_info.pop();
        self.graph.output = vec![value(LOGITS, FLOAT, &[classes], "before the softmax, a number a class")];
    }

    /// One sample's shape as ONNX has it.
    fn dimensions(&self, shape: vgg::Shape) -> Vec<usize> {
        if self.flat { vec![shape.channels] } else { vec![shape.channels, shape.height, shape.width] }
    }

    fn cast(&mut self, name: &str, to: i32, shape: &[usize]) {
        self.node(name, "Cast", &[], vec![int("to", to.into())], to, shape);
    }

    /// A node that reads the last value and `constants`; its own value has its name, and this shape behind the batch.
    fn node(
        &mut self,
        name: &str,
        operator: &str,
        constants: &[&str],
        attribute: Vec<Attribute>,
        elements: i32,
        shape: &[usize],
    ) {
        let constants = constants.iter().map(|name| (*name).to_owned());
        let input = std::iter::once(std::mem::replace(&mut self.last, name.to_owned())).chain(constants).collect();
        let (name, op_type) = (name.to_owned(), operator.to_owned());
        self.graph.value_info.push(value(&name, elements, shape, ""));
        self.graph.node.push(Node { input, output: vec![name.clone()], name, op_type, attribute });
    }

    /// Weights. Errors: a number that is not finite, or is beyond f16 where that is what is kept.
    fn constant(&mut self, name: &str, shape: &[usize], values: &[f32], elements: i32) -> Result<()> {
        let half = elements == FLOAT16;
        let help = if half { "export it without --half" } else { "export it with --no-fold" }; // files hold finite numbers
        check_fits(name, values, half).map_err(|what| Error::new(Kind::Data, what).with_help(help))?;
        let raw_data = if half {
            values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect()
        } else {
            bytemuck::cast_slice(values).to_vec()
        };
        let dims = shape.iter().map(|size| *size as i64).collect();
        self.graph.initializer.push(Tensor { dims, data_type: elements, name: name.to_owned(), raw_data });
        Ok(())
    }
}

fn value(name: &str, elements: i32, shape: &[usize], about: &str) -> ValueInfo {
    let batch = Size::Parameter(BATCH.to_owned());
    let sizes = std::iter::once(batch).chain(shape.iter().map(|size| Size::Value(*size as i64)));
    let dim = sizes.map(|size| Dimension { value: Some(size) }).collect();
    let tensor_type = Some(TensorType { elem_type: elements, shape: Some(Shape { dim }) });
    ValueInfo { name: name.to_owned(), r#type: Some(Type { tensor_type }), doc_string: about.to_owned() }
}

fn number(name: &str, f: f32) -> Attribute {
    Attribute { name: name.to_owned(), f: Some(f), r#type: ATTRIBUTE_FLOAT, ..Attribute::default() }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), i: Some(i), r#type: ATTRIBUTE_INT, ..Attribute::default() }
}

fn ints(name: &str, ints: &[i64]) -> Attribute {
    Attribute { name: name.to_owned(), ints: ints.to_vec(), r#type: ATTRIBUTE_INTS, ..Attribute::default() }
}
