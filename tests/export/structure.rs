//! The graph of every network with every choice: each node reads what is there, shapes follow from it, and weights are the plan's.

use std::collections::BTreeMap;

use vggkit::engine::Normalisation;
use vggkit::export::Trained;
use vggkit::export::onnx::messages::{Attribute, FLOAT, FLOAT16, Graph, Model, Node, Size, UINT8, ValueInfo};
use vggkit::export::onnx::{self, Input, Options};
use vggkit::training::checkpoint::Classes;
use vggkit::vgg::{Head, Network, initialisation};

use crate::{constant, floats, property};

/// First weights of `network`, and batch normalisations that do something.
pub fn trained(network: &Network) -> Trained {
    let plan = network.plan().expect("a plan");
    let mut tensors = initialisation::initialise(&plan, 3);
    for (spec, values) in plan.tensors().iter().zip(&mut tensors) {
        if spec.shape.len() == 1 {
            values.iter_mut().enumerate().for_each(|(i, value)| *value = *value * 0.5 + 0.25 + 0.125 * (i % 5) as f32);
        }
    }
    let names: Vec<String> = (0..network.classes).map(|class| format!("class \"{class}\"")).collect();
    Trained {
        run: "a run".to_owned(),
        step: 7,
        plan,
        tensors,
        classes: Classes { wnids: names.clone(), names },
        normalisation: Normalisation { mean: [0.5, 0.25, 0.375], std: [0.25, 0.5, 0.125] },
        digest: "0123".to_owned(),
    }
}

fn networks() -> Vec<Network> {
    let mut networks = Vec::new();
    for (index, (depth, conv1x1, lrn)) in [
        (11, false, false),
        (11, false, true),
        (13, false, false),
        (16, false, false),
        (16, true, false),
        (19, false, false),
    ]
    .into_iter()
    .enumerate()
    {
        for head in [Head::Classic, Head::Linear, Head::Average] {
            for batch_norm in [true, false] {
                let image_size = [32, 37, 48, 63, 75, 80][(index + head as usize) % 6];
                let network = Network {
                    depth,
                    conv1x1,
                    lrn,
                    batch_norm,
                    width: 0.03,
                    head,
                    image_size,
                    classes: 3,
                    dropout: 0.0,
                };
                networks.push(network);
            }
        }
    }
    networks
}

fn all_options() -> Vec<Options> {
    let each =
        |input| [true, false].into_iter().flat_map(move |fold| [true, false].map(|half| Options { input, fold, half }));
    [Input::Float, Input::U8].into_iter().flat_map(each).collect()
}

#[test]
fn every_network_is_a_whole_graph() {
    for network in networks() {
        for options in all_options() {
            let model = onnx::model(trained(&network), &options).expect("a model");
            let graph = model.graph.as_ref().expect("a graph");
            let title = format!("{} {options:?}", network.title());
            check(graph, &title);
            let operators = |name: &str| graph.node.iter().filter(|node| node.op_type == name).count();
            let convolutions = network.depth - 3;
            assert_eq!(operators("Conv"), convolutions, "{title}");
            let kept = if network.batch_norm && !options.fold { convolutions } else { 0 };
            assert_eq!(operators("BatchNormalization"), kept, "{title}");
            assert_eq!(operators("LRN"), usize::from(network.lrn), "{title}");
            assert_eq!(operators("Gemm"), if network.head == Head::Classic { 3 } else { 1 }, "{title}");
            assert_eq!((operators("MaxPool"), operators("Dropout")), (4, 0), "{title}");
            let kept = match (network.batch_norm, options.fold) {
                (false, _) => "none",
                (true, true) => "folded",
                (true, false) => "kept",
            };
            assert_eq!(property(&model, "batch_norm"), kept);
        }
    }
}

/// Of each value the type and the sizes behind the batch.
type Values = BTreeMap<String, (i32, Vec<usize>)>;

/// Every value is made once and ahead of who reads it; types and shapes are those that the operators give.
fn check(graph: &Graph, title: &str) {
    let mut known: Values = graph.input.iter().map(declared).collect();
    let mut constants = BTreeMap::new();
    for tensor in &graph.initializer {
        let shape: Vec<usize> = tensor.dims.iter().map(|size| *size as usize).collect();
        let bytes = if tensor.data_type == FLOAT16 { 2 } else { 4 };
        assert_eq!(tensor.raw_data.len(), bytes * shape.iter().product::<usize>(), "{title}: {}", tensor.name);
        assert!(
            constants.insert(tensor.name.clone(), (tensor.data_type, shape)).is_none(),
            "{title}: {} twice",
            tensor.name
        );
    }
    let mut unread: Vec<&String> = constants.keys().collect();
    let told: Values = graph.value_info.iter().chain(&graph.output).map(declared).collect();
    for node in &graph.node {
        let [read, weights @ ..] = &node.input[..] else { panic!("{title}: {} reads nothing", node.name) };
        let (elements, shape) = known.get(read).unwrap_or_else(|| panic!("{title}: {read} comes too late"));
        let weights: Vec<_> =
            weights.iter().map(|name| constants.get(name).unwrap_or_else(|| panic!("{title}: {name}"))).collect();
        unread.retain(|name| !node.input.contains(name));
        assert!(weights.iter().all(|(of_weights, _)| of_weights == elements), "{title}: {} mixes types", node.name);
        let weight = weights.first().map(|(_, shape)| shape.as_slice());
        let made = (cast(node).unwrap_or(*elements), shape_of(node, shape, weight));
        let [output] = &node.output[..] else { panic!("{title}: {} has several outputs", node.name) };
        assert_eq!(told.get(output), Some(&made), "{title}: {output}");
        assert!(known.insert(output.clone(), made).is_none(), "{title}: {output} twice");
    }
    assert_eq!(known.len(), told.len() + graph.input.len(), "{title}: something is told of that nobody makes");
    assert!(unread.is_empty(), "{title}: nobody reads {unread:?}");
    assert_eq!(graph.output[0].name, "logits");
    assert_eq!(known["logits"], (FLOAT, vec![3]));
}

fn declared(value: &ValueInfo) -> (String, (i32, Vec<usize>)) {
    let tensor = value.r#type.as_ref().and_then(|of| of.tensor_type.as_ref()).expect("a tensor");
    let sizes: Vec<_> = tensor.shape.as_ref().expect("a shape").dim.iter().map(|dim| dim.value.clone()).collect();
    assert_eq!(sizes[0], Some(Size::Parameter("batch".to_owned())), "{}", value.name);
    let fixed = |size: &Option<Size>| match size {
        Some(Size::Value(size)) => *size as usize,
        other => panic!("{}: {other:?}", value.name),
    };
    (value.name.clone(), (tensor.elem_type, sizes[1..].iter().map(fixed).collect()))
}

fn attribute<'a>(node: &'a Node, name: &str) -> &'a Attribute {
    node.attribute
        .iter()
        .find(|attribute| attribute.name == name)
        .unwrap_or_else(|| panic!("{} has no {name}", node.name))
}

fn cast(node: &Node) -> Option<i32> {
    (node.op_type == "Cast").then(|| attribute(node, "to").i.expect("a type") as i32)
}

/// What ONNX says that an operator makes of one sample of this shape.
fn shape_of(node: &Node, shape: &[usize], weight: Option<&[usize]>) -> Vec<usize> {
    let both = |name: &str| attribute(node, name).ints.iter().map(|size| *size as usize).collect::<Vec<_>>();
    match (node.op_type.as_str(), weight) {
        ("Conv", Some([o, i, rows, columns])) => {
            assert_eq!((*i, &both("kernel_shape")[..]), (shape[0], &[*rows, *columns][..]));
            let pads = both("pads");
            vec![*o, shape[1] + pads[0] + pads[2] + 1 - rows, shape[2] + pads[1] + pads[3] + 1 - columns]
        }
        ("MaxPool" | "AveragePool", None) => {
            let (kernel, strides) = (both("kernel_shape"), both("strides"));
            let positions = |axis: usize| (shape[1 + axis] - kernel[axis]) / strides[axis] + 1;
            vec![shape[0], positions(0), positions(1)]
        }
        ("Transpose", None) => {
            assert_eq!(both("perm"), [0, 3, 1, 2]);
            vec![shape[2], shape[0], shape[1]]
        }
        ("Flatten", None) => vec![shape.iter().product()],
        ("Gemm", Some([out, of])) => {
            assert_eq!((attribute(node, "transB").i, shape), (Some(1), &[*of][..]));
            vec![*out]
        }
        ("BatchNormalization", Some([channels])) => {
            assert_eq!(shape[0], *channels);
            shape.to_vec()
        }
        ("Mul" | "Sub", Some([1, 3, 1, 1])) | ("Cast" | "Relu" | "LRN", None) => shape.to_vec(),
        (operator, weight) => panic!("{}: {operator} with {weight:?}", node.name),
    }
}

fn small() -> Network {
    Network { width: 0.03, head: Head::Linear, image_size: 32, classes: 3, lrn: true, ..Network::default() }
}

fn operators(model: &Model) -> Vec<&str> {
    model.graph.as_ref().expect("a graph").node.iter().map(|node| node.op_type.as_str()).collect()
}

#[test]
fn the_nodes_of_one_network() {
    let options = Options { input: Input::U8, fold: false, half: true };
    let model = onnx::model(trained(&small()), &options).expect("a model");
    let mut expected = vec!["Transpose", "Cast", "Mul", "Sub", "Cast"];
    expected.extend(["Conv", "BatchNormalization", "Relu", "Cast", "LRN", "Cast", "MaxPool"]);
    expected.extend(["Conv", "BatchNormalization", "Relu", "MaxPool"]);
    for pool in ["MaxPool", "MaxPool", "AveragePool"] {
        expected.extend(["Conv", "BatchNormalization", "Relu", "Conv", "BatchNormalization", "Relu", pool]);
    }
    expected.extend(["Flatten", "Gemm", "Cast"]);
    assert_eq!(operators(&model), expected);
    let plain = onnx::model(trained(&small()), &Options::default()).expect("a model");
    let left: Vec<_> =
        expected[5..].iter().copied().filter(|name| !["Cast", "BatchNormalization"].contains(name)).collect();
    assert_eq!(operators(&plain), left);
    let graph = plain.graph.as_ref().expect("a graph");
    let lrn = graph.node.iter().find(|node| node.op_type == "LRN").expect("there");
    // Its alpha is divided by the window's size: 1e-4 of the paper's sum is 5e-4 of ONNX's mean.
    assert_eq!(["alpha", "beta", "bias"].map(|name| attribute(lrn, name).f), [5e-4, 0.75, 2.0].map(Some));
    assert_eq!(attribute(lrn, "size").i, Some(5));
}

#[test]
fn the_file_says_what_it_is() {
    let network = Network { image_size: 48, ..small() };
    let options = Options { input: Input::U8, ..Options::default() };
    let model = onnx::model(trained(&network), &options).expect("a model");
    assert_eq!((model.ir_version, model.producer_name.as_str()), (8, "vggkit"));
    assert_eq!(model.producer_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(model.opset_import.iter().map(|set| (set.domain.as_str(), set.version)).collect::<Vec<_>>(), [("", 17)]);
    assert!(model.doc_string.contains("VGG-11") && model.doc_string.contains("48 x 48"), "{}", model.doc_string);
    let names: Vec<String> = serde_json::from_str(property(&model, "names")).expect("JSON");
    assert_eq!(names, ["class \"0\"", "class \"1\"", "class \"2\""]);
    let numbers = |key: &str| serde_json::from_str::<Vec<f32>>(property(&model, key)).expect("JSON");
    assert_eq!((numbers("mean"), numbers("std")), (vec![0.5, 0.25, 0.375], vec![0.25, 0.5, 0.125]));
    let network: Network = serde_json::from_str(property(&model, "network")).expect("JSON");
    assert_eq!(network.image_size, 48);
    for (key, value) in [
        ("schema", "vggkit/onnx/1"),
        ("run", "a run"),
        ("step", "7"),
        ("digest", "0123"),
        ("input", "u8"),
        ("layout", "NHWC"),
        ("color_order", "RGB"),
        ("image_size", "48"),
        ("precision", "f32"),
    ] {
        assert_eq!(property(&model, key), value);
    }
    let graph = model.graph.as_ref().expect("a graph");
    assert_eq!(declared(&graph.input[0]), ("image".to_owned(), (UINT8, vec![48, 48, 3])));
    // pixel * factor - offset is (pixel / 255 - mean) / std.
    let [factor, offset] = ["factor", "offset"].map(|name| floats(constant(&model, &format!("preprocess.{name}"))));
    for (channel, (mean, std)) in [(0.5, 0.25), (0.25, 0.5), (0.375, 0.125)].into_iter().enumerate() {
        for pixel in [0.0_f32, 100.0, 255.0] {
            assert!((pixel * factor[channel] - offset[channel] - (pixel / 255.0 - mean) / std).abs() < 1e-6);
        }
    }
    let float = onnx::model(trained(&small()), &Options::default()).expect("a model");
    assert_eq!((property(&float, "input"), property(&float, "layout")), ("float", "NCHW"));
    assert_eq!(declared(&float.graph.as_ref().expect("a graph").input[0]).1, (FLOAT, vec![3, 32, 32]));
}

#[test]
fn weights_are_the_runs_own_and_halves_are_rounded() {
    let trained = trained(&small());
    let names: Vec<String> = trained.plan.tensors().into_iter().map(|spec| spec.name).collect();
    let tensors = trained.tensors.clone();
    let options = Options { fold: false, ..Options::default() };
    let single = onnx::model(trained.clone(), &options).expect("a model");
    let half = onnx::model(trained, &Options { half: true, ..options }).expect("a model");
    for (name, values) in names.iter().zip(&tensors) {
        assert_eq!(&floats(constant(&single, name)), values, "{name}");
        let rounded: Vec<u8> = values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect();
        assert_eq!(constant(&half, name).raw_data, rounded, "{name}");
    }
}
