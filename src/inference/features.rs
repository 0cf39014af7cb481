//! Features: what a network makes of an image ahead of its last layer, for nearest neighbours, maps of a data set or a
//! classifier of one's own.
//!
//! No engine knows of them. The last layer with a row of the identity for each of its inputs is a linear layer like any other:
//! one pass gives logits and features, and a number times 1, plus the others times 0, keeps its bits.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use safetensors::Dtype;

use super::model::Model;
use crate::engine::{Engine, Images, Source, State};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::training::checkpoint::Classes;
use crate::training::metrics;
use crate::vgg::weights::{self, Entry};
use crate::vgg::{Network, Operation, Plan};

/// The value of `schema`.
pub const SCHEMA: &str = "vggkit/features/1";

/// A network that tells features beside logits.
pub struct Extractor {
    engine: Box<dyn Engine>,
    batch_size: usize,
}

/// What it tells of one image.
pub struct Row {
    /// Inputs of the last layer, in the order of its weights.
    pub features: Vec<f32>,
    /// Its outputs.
    pub logits: Vec<f32>,
}

impl Extractor {
    /// For the weights of `model`, on the same device. Errors: the engine's, e.g. no memory.
    pub fn new(model: &mut Model) -> Result<Self> {
        let tensors = model.engine.state()?.tensors;
        let (plan, tensors) = widened(model.engine.plan(), tensors)?;
        let (engine, batch_size) = (model.engine_of(plan, State::new(tensors))?, model.batch_size());
        Ok(Self { engine, batch_size })
    }

    /// Asks of all images. `progress` is told after each batch how many are done.
    pub fn rows(&mut self, images: &Images, progress: impl FnMut(usize)) -> Result<Vec<Row>> {
        self.engine.attach(Source::Validation, images.clone())?;
        let classes = self.engine.plan().network.classes - last(self.engine.plan())?.1;
        let mut rows = Vec::with_capacity(images.count);
        let visit = |_, row: &[f32]| {
            let (logits, features) = row.split_at(classes);
            rows.push(Row { features: features.to_vec(), logits: logits.to_vec() });
        };
        metrics::for_each_logits(self.engine.as_mut(), images.count, self.batch_size, visit, progress)?;
        Ok(rows)
    }
}

/// Name and number of inputs of a plan's last layer. Errors: it is not linear.
fn last(plan: &Plan) -> Result<(&str, usize)> {
    let layer = plan.layers.last().filter(|layer| layer.operation == Operation::Linear);
    let layer = layer.ok_or_else(|| Error::new(Kind::Engine, "the network's last layer is not linear"))?;
    Ok((&layer.name, layer.input.elements()))
}

/// A plan whose last layer has an output more for each of its inputs, and its weights.
fn widened(plan: &Plan, mut tensors: Vec<Vec<f32>>) -> Result<(Plan, Vec<Vec<f32>>)> {
    let (_, inputs) = last(plan)?;
    let wide = Network { classes: plan.network.classes + inputs, ..plan.network.clone() }.plan()?;
    if let [.., weight, bias] = tensors.as_mut_slice() {
        weight.extend((0..inputs * inputs).map(|at| if at / inputs == at % inputs { 1.0 } else { 0.0 }));
        bias.extend(std::iter::repeat_n(0.0, inputs));
    }
    Ok((wide, tensors))
}

/// Features of many images, to be written to a file.
pub struct Features {
    metadata: BTreeMap<String, String>,
    inputs: usize,
    classes: usize,
    files: Vec<String>,
    labels: Vec<i64>,
    features: Vec<f32>,
    logits: Vec<f32>,
}

impl Features {
    /// None yet, of the network of `model`. Errors: its last layer is not linear.
    pub fn new(model: &Model) -> Result<Self> {
        let (layer, inputs) = last(model.engine.plan())?;
        let Classes { wnids, names } = &model.classes;
        let list = |list: &[String]| serde_json::to_string(list).map_err(|e| Error::data(&model.folder, e));
        let metadata = [
            ("schema", SCHEMA.to_owned()),
            ("vggkit", env!("CARGO_PKG_VERSION").to_owned()),
            ("run", model.name.clone()),
            ("weights_digest", model.digest.clone()),
            ("layer", layer.to_owned()),
            ("wnids", list(wnids)?),
            ("names", list(names)?),
        ];
        Ok(Self {
            metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
            inputs,
            classes: wnids.len(),
            files: Vec::new(),
            labels: Vec::new(),
            features: Vec::new(),
            logits: Vec::new(),
        })
    }

    /// Adds an image by its name; all have a label or none has.
    pub fn push(&mut self, file: String, label: Option<u32>, row: Row) {
        self.files.push(file);
        self.labels.extend(label.map(i64::from));
        self.features.extend(row.features);
        self.logits.extend(row.logits);
    }

    /// Number of images, and of features of each.
    pub fn size(&self) -> (usize, usize) {
        (self.files.len(), self.inputs)
    }

    /// Writes them as a safetensors file. Errors: the file system's.
    pub fn write(&self, path: &Path) -> Result<()> {
        let images = self.files.len();
        let mut metadata = self.metadata.clone();
        metadata.insert("files".into(), serde_json::to_string(&self.files).map_err(|e| Error::data(path, e))?);
        let mut tensors: Vec<Entry<'_>> = Vec::new();
        if !self.labels.is_empty() {
            // Ahead of the others, since its numbers are the longest.
            tensors.push(("labels".into(), Dtype::I64, vec![images], bytemuck::cast_slice(&self.labels)));
        }
        let features = bytemuck::cast_slice(&self.features);
        tensors.push(("features".into(), Dtype::F32, vec![images, self.inputs], features));
        tensors.push(("logits".into(), Dtype::F32, vec![images, self.classes], bytemuck::cast_slice(&self.logits)));
        let header = weights::header(path, &tensors, &metadata)?;
        files::write_atomic(path, |file| {
            file.write_all(&header)?;
            tensors.iter().try_for_each(|(_, _, _, bytes)| file.write_all(bytes))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::CpuEngine;
    use crate::engine::cpu::reference::linear;
    use crate::engine::gpu::{self, GpuEngine};
    use crate::engine::{Batch, Settings};
    use crate::inference::grad_cam;
    use crate::test_support::values;
    use crate::vgg::{Head, initialisation};

    fn engines(plan: &Plan, tensors: &[Vec<f32>]) -> Result<[Box<dyn Engine>; 2]> {
        let state = State::new(tensors.to_vec());
        let lavapipe = gpu::Options { adapter: Some("llvmpipe".into()), tune: false, ..gpu::Options::default() };
        let gpu = GpuEngine::new(plan.clone(), settings(), &state, &lavapipe)?;
        Ok([Box::new(CpuEngine::new(plan.clone(), settings(), &state)?), Box::new(gpu)])
    }

    /// By each head and on both engines: the last layer applied to the features gives the logits, and the features are what the
    /// layers ahead of it make of the image.
    #[test]
    fn features_through_the_last_layer_are_the_logits() -> Result<()> {
        for (head, batch_norm, inputs) in [
            (Head::Classic, true, 163),
            (Head::Linear, true, 80),
            (Head::Average, true, 20),
            (Head::Classic, false, 163),
        ] {
            let network = Network { head, batch_norm, width: 0.04, classes: 5, image_size: 37, ..Network::default() };
            let plan = network.plan()?;
            let mut tensors = initialisation::initialise(&plan, 3);
            let last = tensors.len() - 2;
            for (i, layer) in tensors.iter_mut().enumerate().filter(|(i, t)| *i + 6 > last && t.len() > 200) {
                layer.iter_mut().for_each(|w| *w *= if i == last { 20.0 } else { 8.0 }); // so that something comes through
            }
            assert_eq!(super::last(&plan)?.1, inputs, "{head:?}");
            let (wide, widened) = widened(&plan, tensors.clone())?;
            let input = values(3 * plan.input().elements());
            let batch = || Batch::Activations { input: &input, labels: &[] };

            let mut ahead = CpuEngine::new(plan.clone(), settings(), State::new(tensors.clone()))?;
            let maps = ahead.features(batch())?;
            let classifier = grad_cam::Head::new(&plan, &tensors).expect("every plan has one");
            let expected: Vec<Vec<f32>> = maps
                .chunks_exact(classifier.features.elements())
                .map(|map| classifier.forward(map).swap_remove(classifier_layers(head) - 1))
                .collect();
            for (mut plain, mut wide) in engines(&plan, &tensors)?.into_iter().zip(engines(&wide, &widened)?) {
                let (mut logits, mut rows) = (Vec::new(), Vec::new());
                plain.logits(batch(), &mut logits)?;
                wide.logits(batch(), &mut rows)?;
                for (image, row) in rows.chunks_exact(5 + inputs).enumerate() {
                    let engine = &plain.device().engine;
                    let (own, features) = row.split_at(5);
                    let mut by_hand = vec![0.0; 5];
                    linear::forward(inputs, features, &tensors[last], &tensors[last + 1], &mut by_hand);
                    close(&by_hand, &logits[5 * image..][..5], 1e-5, engine);
                    close(own, &logits[5 * image..][..5], 1e-5, engine);
                    close(features, &expected[image], 1e-4, engine);
                    assert!(features.iter().filter(|v| **v != 0.0).count() > inputs / 8, "{engine}: {features:?}");
                }
            }
        }
        Ok(())
    }

    fn classifier_layers(head: Head) -> usize {
        if head == Head::Classic { 3 } else { 1 }
    }

    fn settings() -> Settings {
        Settings { precise: true, ..Settings::inference(3, 2) }
    }

    fn close(found: &[f32], expected: &[f32], allowed: f32, what: &str) {
        let scale = expected.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
        assert!(scale > 0.0, "{what}: nothing came through");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= allowed * scale, "{what}: {found} and {expected}");
        }
    }
}
