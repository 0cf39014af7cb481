//! A training's first weights from a file: of the same network, or as far as the layers of another one fit, the rest drawn.
//!
//! A layer fits where the file has all its tensors, under torchvision's names and in the right shapes. In a file of another
//! column of Table 1 a convolution is looked for at the same place of the same stage, as the paper started its deeper networks
//! from A (section 3.1; of which it took the first four convolutions and the linear layers, and this all that fit). Refuses
//! files of which nothing fits, those in which the same name is another layer or which lack a layer that is to be frozen, and
//! numbers that are not finite.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::network::Network;
use super::operation::Operation;
use super::plan::Plan;
use super::table::TABLE_1;
use super::{initialisation, weights};
use crate::error::{Error, Result};
use crate::files;

/// First weights, and where they are from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct First {
    /// In the order of [`Plan::tensors`].
    pub tensors: Vec<Vec<f32>>,
    /// SHA-256 of the file; empty where there is none.
    pub sha256: String,
    /// Layers of the file, where only part of it was asked for.
    pub taken: Vec<String>,
    /// Layers drawn from the seed all the same, each with the reason.
    pub drawn: Vec<String>,
    /// Layers of the file that the network does not have.
    pub unused: Vec<String>,
}

/// The weights of a file that has those of `plan` and no others.
pub fn whole(path: &Path, plan: &Plan) -> Result<First> {
    let tensors = weights::load(path, plan)?.tensors;
    let names: Vec<String> = plan.tensors().into_iter().map(|spec| spec.name).collect();
    finite(path, names.iter().map(String::as_str).zip(&tensors))?;
    Ok(First { tensors, sha256: files::sha256(path)?, ..First::default() })
}

/// The layers of a file that fit `plan`; the others as `seed` draws them where there is no file.
pub fn partial(path: &Path, plan: &Plan, seed: u64) -> Result<First> {
    let map = weights::map(path)?;
    let file = weights::tensors(path, &map)?;
    same_numbering(path, plan, file.keys().any(|name| name.ends_with(".running_mean")))?;

    let mut first = First { tensors: initialisation::initialise(plan, seed), ..First::default() };
    let others = other_names(plan, &file.keys().cloned().collect());
    let mut names = Vec::new();
    let mut used = BTreeSet::new();
    let mut from = 0;
    let mut frozen = 0; // of those that are drawn, which come in order
    for (index, layer) in plan.layers.iter().enumerate() {
        let specs = layer.tensors();
        let places = from..from + specs.len();
        from = places.end;
        let theirs = others.get(&layer.name).unwrap_or(&layer.name);
        let read = specs.iter().map(|spec| {
            let part = spec.name.rsplit('.').next().unwrap_or_default();
            let view = file.get(&format!("{theirs}.{part}")).ok_or_else(|| format!("no {part} in the file"))?;
            if view.shape() != spec.shape {
                return Err(format!("{part} {:?} in the file, {:?} here", view.shape(), spec.shape));
            }
            weights::floats(view.dtype(), view.data()).ok_or_else(|| format!("{part} holds {:?}", view.dtype()))
        });
        match read.collect::<Result<Vec<_>, String>>() {
            Ok(read) if read.is_empty() => {} // a layer without weights
            Ok(read) => {
                let same = *theirs == layer.name;
                first.taken.push(if same { theirs.clone() } else { format!("{} ({theirs} in the file)", layer.name) });
                used.insert(theirs.clone());
                names.extend(specs.into_iter().map(|spec| spec.name).zip(places.clone()));
                first.tensors[places].clone_from_slice(&read);
            }
            Err(reason) => {
                first.drawn.push(format!("{} ({reason})", layer.name));
                frozen += usize::from(index < plan.frozen);
            }
        }
    }
    if first.taken.is_empty() {
        let (title, reasons) = (plan.network.title(), weights::listed(&first.drawn));
        return Err(Error::data(path, format!("no layer of it fits {title}: {reasons}")).with_help(
            "layers fit by torchvision's names and by shape: choose the depth and width that it was trained with",
        ));
    }
    if frozen > 0 {
        let text = format!("lacks layers that are to be frozen: {}", weights::listed(&first.drawn[..frozen]));
        return Err(Error::data(path, text).with_help(
            "what is drawn at random has to be trained: freeze fewer layers (--freeze features:N), or take a file that has them",
        ));
    }
    finite(path, names.iter().map(|(name, place)| (&name[..], &first.tensors[*place])))?;
    first.sha256 = files::sha256(path)?;
    // With those that have another shape, which are told of as drawn.
    let with_weights = plan.layers.iter().filter(|layer| !layer.tensors().is_empty());
    used.extend(with_weights.map(|layer| others.get(&layer.name).unwrap_or(&layer.name).clone()));
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    let theirs: BTreeSet<&str> = file
        .keys()
        .filter(|name| !weights::is_extra(name))
        .map(|name| name.rsplit_once('.').map_or(&name[..], |(layer, _)| layer))
        .collect();
    first.unused = theirs.difference(&used).map(|layer| (*layer).to_owned()).collect();
    Ok(first)
}

/// Where a convolution or its batch normalisation stands: stage, place in it, and which of the two.
type Place = (usize, usize, bool);

fn places(plan: &Plan) -> Vec<(Place, String)> {
    let (mut stage, mut place, mut places) = (0, 0, Vec::new());
    for layer in &plan.layers {
        match layer.operation {
            Operation::Conv2d { .. } => {
                place += 1;
                places.push(((stage, place, false), layer.name.clone()));
            }
            Operation::BatchNorm2d => places.push(((stage, place, true), layer.name.clone())),
            Operation::MaxPool2d => (stage, place) = (stage + 1, 0),
            _ => {}
        }
    }
    places
}

/// Of a file with `tensors` of another column of Table 1: its names of the layers that stand at the same places.
fn other_names(plan: &Plan, tensors: &BTreeSet<String>) -> BTreeMap<String, String> {
    let ours = places(plan);
    let convolutions: BTreeSet<&str> = tensors
        .iter()
        .filter_map(|name| name.strip_suffix(".weight"))
        .filter(|name| name.starts_with("features."))
        .collect();
    let theirs = TABLE_1.iter().find_map(|column| {
        let network =
            Network { depth: column.depth, conv1x1: column.has_1x1(), lrn: column.lrn, ..plan.network.clone() };
        let places = places(&network.plan().ok()?);
        let same =
            places.len() == convolutions.len() && places.iter().all(|(_, name)| convolutions.contains(&name[..]));
        same.then(|| places.into_iter().collect::<BTreeMap<_, _>>())
    });
    let theirs = theirs.unwrap_or_default();
    ours.into_iter().filter_map(|(place, name)| Some((name, theirs.get(&place)?.clone()))).collect()
}

/// Layers are counted with those of batch normalisation, so that with and without them the same name means another layer.
fn same_numbering(path: &Path, plan: &Plan, batch_norm: bool) -> Result<()> {
    let (what, help) = match (batch_norm, plan.network.batch_norm) {
        (false, true) => ("no batch normalisation, which the network has", "add --no-batch-norm"),
        (true, false) => ("batch normalisation, which the network does not have", "leave --no-batch-norm out"),
        _ => return Ok(()),
    };
    Err(Error::data(path, format!("has {what}: its layers have other names")).with_help(help))
}

/// Refuses NaN and infinities, by the tensors' names.
fn finite<'a>(path: &Path, tensors: impl Iterator<Item = (&'a str, &'a Vec<f32>)>) -> Result<()> {
    let wrong: Vec<String> = tensors
        .filter_map(|(name, values)| {
            let (at, value) = values.iter().enumerate().find(|(_, value)| !value.is_finite())?;
            let others = values[at + 1..].iter().filter(|value| !value.is_finite()).count();
            let others = if others > 0 { format!(" and {others} more") } else { String::new() };
            Some(format!("{name} has {value} as number {at} of {}{others}", values.len()))
        })
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let text =
        format!("has numbers that are not finite, with which no training can start: {}", weights::listed(&wrong));
    Err(Error::data(path, text).with_help("take weights from before they went wrong"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::vgg::Network;

    fn network() -> Network {
        Network { width: 0.05, image_size: 32, classes: 3, ..Network::default() }
    }

    /// A file of a network's weights as drawn from `seed`, with names and numbers changed by `change`.
    fn file(
        folder: &Path,
        network: &Network,
        seed: u64,
        change: impl Fn(&str, &mut Vec<f32>, &mut Vec<usize>) -> String,
    ) -> std::path::PathBuf {
        let plan = network.plan().expect("a plan");
        let mut tensors = initialisation::initialise(&plan, seed);
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = plan
            .tensors()
            .into_iter()
            .zip(&mut tensors)
            .map(|(mut spec, values)| {
                let name = change(&spec.name, values, &mut spec.shape);
                (name, spec.shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
            })
            .collect();
        let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("a view");
        let views = tensors.iter().map(|(name, shape, bytes)| (name, view(shape, bytes)));
        let path = folder.join("w.safetensors");
        std::fs::write(&path, safetensors::serialize(views, None).expect("bytes")).expect("written");
        path
    }

    fn same(name: &str, _: &mut Vec<f32>, _: &mut Vec<usize>) -> String {
        name.to_owned()
    }

    #[test]
    fn what_fits_is_taken_and_the_rest_is_drawn_as_without_a_file() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        // As torchvision's: 1000 classes, and a first linear layer that sees 7 x 7 maps.
        let path = file(folder.path(), &Network { classes: 1000, ..network() }, 7, |name, values, shape| {
            if name.ends_with("running_mean") {
                values.fill(0.25);
            }
            if name == "classifier.0.weight" {
                *shape = vec![204, 25 * 7 * 7];
                values.resize(204 * 25 * 7 * 7, 0.5);
            }
            name.to_owned()
        });
        let plan = network().plan()?;
        let (first, drawn) = (partial(&path, &plan, 1)?, initialisation::initialise(&plan, 1));
        let given = initialisation::initialise(&plan, 7);
        for (spec, values) in plan.tensors().iter().zip(&first.tensors) {
            let place = plan.tensors().iter().position(|other| other.name == spec.name).expect("there");
            if ["classifier.0", "classifier.6"].iter().any(|layer| spec.name.starts_with(layer)) {
                assert_eq!(values, &drawn[place], "{}", spec.name);
            } else if spec.name.ends_with("running_mean") {
                assert!(values.iter().all(|v| *v == 0.25), "{}", spec.name);
            } else {
                assert_eq!(values, &given[place], "{}", spec.name);
            }
        }
        let misfits = [
            "classifier.0 (weight [204, 1225] in the file, [204, 100] here)",
            "classifier.6 (weight [1000, 204] in the file, [3, 204] here)",
        ];
        assert_eq!(first.drawn, misfits);
        assert_eq!(first.taken.len() + 2, plan.layers.iter().filter(|l| !l.tensors().is_empty()).count());
        assert!(first.unused.is_empty());
        Ok(())
    }

    #[test]
    fn a_deeper_network_starts_from_the_same_places_of_a_shallower_one() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        for batch_norm in [true, false] {
            let shallow = Network { batch_norm, classes: 1000, ..network() };
            let path = file(folder.path(), &shallow, 7, |name, values, _| {
                if name.starts_with("features.") {
                    values.iter_mut().for_each(|v| *v += 2.0);
                }
                name.to_owned()
            });
            let plan = Network { depth: 19, ..shallow.clone() }.plan()?;
            let deep = partial(&path, &plan, 1)?;
            // A has eight convolutions in five stages, all of which E has too; E has eight more.
            let each = if batch_norm { 2 } else { 1 };
            assert_eq!((deep.taken.len(), deep.drawn.len()), (8 * each + 3, 8 * each), "{:?}", deep.drawn);
            assert!(deep.unused.is_empty(), "{:?}", deep.unused);
            let second =
                if batch_norm { "features.7 (features.4 in the file)" } else { "features.5 (features.3 in the file)" };
            assert!(deep.taken.contains(&second.to_owned()), "{:?}", deep.taken);
            let given = initialisation::initialise(&shallow.plan()?, 7);
            let at = |plan: &Plan, name: &str| plan.tensors().iter().position(|t| t.name == name).expect(name);
            let (ours, theirs) = if batch_norm {
                ("features.7.weight", "features.4.weight")
            } else {
                ("features.5.weight", "features.3.weight")
            };
            let moved: Vec<f32> = given[at(&shallow.plan()?, theirs)].iter().map(|v| v + 2.0).collect();
            assert_eq!(deep.tensors[at(&plan, ours)], moved);
            assert!(deep.drawn[0].contains("no weight in the file"), "{:?}", deep.drawn);
            // The other way: of the deeper network what the shallower one has a place for.
            let back =
                partial(&file(folder.path(), &Network { depth: 16, ..shallow.clone() }, 3, same), &shallow.plan()?, 1)?;
            assert_eq!((back.taken.len(), back.drawn.len(), back.unused.len()), (8 * each + 3, 0, 5 * each));
        }
        Ok(())
    }

    #[test]
    fn names_behind_a_wrapper_are_understood() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = network().plan()?;
        let given = initialisation::initialise(&plan, 7);
        for wrapper in ["module.", "model.", "module.model.", "_orig_mod."] {
            let path = file(folder.path(), &network(), 7, |name, _, _| format!("{wrapper}{name}"));
            assert_eq!(whole(&path, &plan)?.tensors, given, "{wrapper}");
            assert_eq!(partial(&path, &plan, 1)?.tensors, given, "{wrapper}");
        }
        let path = file(folder.path(), &network(), 7, |name, _, _| name.replace("classifier.", "ema.classifier."));
        let error = whole(&path, &plan).expect_err("not all of it is ours").to_string();
        assert!(error.contains("classifier.0.weight is missing"), "{error}");
        Ok(())
    }

    #[test]
    fn numbers_that_are_not_finite_are_named() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = network().plan()?;
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let path = file(folder.path(), &network(), 7, |name, values, _| {
                if name == "features.4.weight" {
                    values[5] = wrong;
                }
                name.to_owned()
            });
            for error in
                [whole(&path, &plan), partial(&path, &plan, 1)].map(|first| first.expect_err("not finite").to_string())
            {
                let named = error.contains("w.safetensors")
                    && error.contains(&format!("features.4.weight has {wrong} as number 5 of"));
                assert!(named, "{error}");
            }
        }
        // Not of what is not taken.
        let path = file(folder.path(), &Network { classes: 9, ..network() }, 7, |name, values, _| {
            if name == "classifier.6.weight" {
                values.fill(f32::NAN);
            }
            name.to_owned()
        });
        partial(&path, &plan, 1).map(drop)
    }

    #[test]
    fn files_of_which_nothing_can_be_taken_are_refused() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = network().plan()?;
        let refused = |path: &Path, plan: &Plan, text: &str, help: &str| {
            let error = partial(path, plan, 1).expect_err(text);
            assert!(error.to_string().contains(text), "{error}");
            assert!(error.help().is_some_and(|said| said.contains(help)), "{:?}", error.help());
        };
        let path = file(folder.path(), &Network { width: 0.1, ..network() }, 7, same);
        refused(&path, &plan, "no layer of it fits", "width");
        let path = file(folder.path(), &Network { batch_norm: false, ..network() }, 7, same);
        refused(&path, &plan, "no batch normalisation", "add --no-batch-norm");
        let path = file(folder.path(), &network(), 7, same);
        let plain = Network { batch_norm: false, ..network() }.plan()?;
        refused(&path, &plain, "has batch normalisation", "leave --no-batch-norm out");
        Ok(())
    }

    #[test]
    fn a_file_of_torch_save_comes_with_the_lines_that_convert_it() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = network().plan()?;
        let zipped = b"PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl".to_vec();
        let legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec();
        for (name, bytes) in [("vgg11.pth", &zipped), ("a.pt", &legacy), ("b.bin", &zipped), ("c.ckpt", &legacy)] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            let saved = path.with_extension("safetensors");
            for error in [whole(&path, &plan), partial(&path, &plan, 1)].map(|first| first.expect_err("a pickle")) {
                assert!(error.to_string().contains("torch.save"), "{error}");
                let help = error.help().expect("how to convert it");
                let lines = [
                    "import torch, safetensors.torch".to_owned(),
                    format!("torch.load({path:?}"),
                    format!("{saved:?})"),
                ];
                assert!(lines.iter().all(|line| help.contains(line)), "{help}");
            }
        }
        // Another zip is not PyTorch's.
        let path = folder.path().join("d.safetensors");
        std::fs::write(&path, b"PK\x03\x04 something else").expect("written");
        let error = whole(&path, &plan).expect_err("a zip");
        assert!(!error.help().expect("advice").contains("torch"), "{error}");
        weights::save(&path, &plan, &initialisation::initialise(&plan, 1), 0, &BTreeMap::new(), &[])?;
        whole(&path, &plan).map(drop)
    }
}
