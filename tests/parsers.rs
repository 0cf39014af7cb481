//! Laws of what reads text and files from anyone: nothing panics, what is written is read, and damage is never taken for
//! data.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vggkit::dataset::pack_writer::{PackHeader, PackWriter};
use vggkit::dataset::{Pack, annotations, decode};
use vggkit::engine::{LossScaling, Normalisation, Optimizer, State};
use vggkit::training::checkpoint::{self, Classes, Progress};
use vggkit::training::schedule::Plateau;
use vggkit::vgg::{Network, Plan, initialisation, weights};

fn pack(data: &std::path::Path) -> Vec<u8> {
    let header = PackHeader {
        split: "train".into(),
        synthetic: true,
        height: 3,
        width: 2,
        wnids: vec!["n1".into(), "n2".into()],
        names: vec!["one".into(), "two \"2\"".into()],
        files: vec!["a.JPEG".into(), "b.JPEG".into(), "c.JPEG".into()],
        labels: Some(vec![0, 1, 1]),
        boxes: Some(vec![[0, 0, 1, 1]; 3]),
    };
    let path = Pack::path_of(data, "train");
    let writer = PackWriter::create(&path, &header).unwrap();
    writer.write(0, &(0..54).collect::<Vec<u8>>()).unwrap();
    writer.finish(Normalisation { mean: [0.1; 3], std: [0.2; 3] }).unwrap();
    std::fs::read(path).unwrap()
}

/// The narrowest VGG-11: one channel everywhere.
fn plan() -> Plan {
    Network { width: 1e-4, image_size: 32, classes: 2, ..Network::default() }.plan().unwrap()
}

/// A state of [`plan`] whose numbers are drawn from `numbers`, over and over; with averaged weights or without.
fn state(numbers: &[f32], optimizer: &Optimizer, averaged: bool) -> State {
    let mut state = State::new(initialisation::initialise(&plan(), 1));
    let trained =
        plan().tensors().into_iter().filter(|spec| spec.role.trained()).map(|spec| vec![0.0; spec.elements()]);
    state.moments = vec![trained.collect::<Vec<_>>(); optimizer.moments().len()];
    if averaged {
        state.averages.clone_from(&state.tensors);
    }
    let weights = state.tensors.iter_mut().chain(&mut state.averages);
    let all = weights.chain(state.moments.iter_mut().flatten()).flatten();
    all.zip(numbers.iter().cycle()).for_each(|(value, number)| *value = *number);
    state
}

fn bits(tensors: &[Vec<f32>]) -> Vec<Vec<u32>> {
    tensors.iter().map(|tensor| tensor.iter().map(|value| value.to_bits()).collect()).collect()
}

fn optimizer() -> impl Strategy<Value = Optimizer> {
    prop_oneof![Just(Optimizer::adam()), Just(Optimizer::adamw()), Just(Optimizer::sgd(0.9, 1e-4))]
}

fn progress() -> impl Strategy<Value = Progress> {
    let counts = (1..1_u64 << 53, 1..usize::MAX, any::<usize>(), any::<u32>(), any::<u32>());
    let sums = (-1e300..1e300_f64, 0.0..1e9_f64, prop::option::of(-1e9..1e9_f64), 0.0..=1.0_f64);
    (counts, sums).prop_map(|((step, epoch, batch, top1, more), (loss_sum, seconds, best_val_loss, factor))| Progress {
        step,
        epoch,
        batch,
        loss_sum,
        top1: top1.into(),
        samples: u64::from(top1) + u64::from(more),
        seconds,
        best_val_loss,
        best_top1: best_val_loss.map(|_| factor),
        best_epoch: batch,
        epochs_without_improvement: batch,
        plateau: Plateau { factor, waited: batch },
    })
}

#[test]
fn a_checkpoint_whose_progress_cannot_be_is_refused() {
    let run = tempfile::tempdir().unwrap();
    let (plan, optimizer) = (plan(), Optimizer::adam());
    let mut state = state(&[1.0], &optimizer, false);
    state.loss_scaling = Some(LossScaling::default());
    let classes = Classes { wnids: vec!["n1".into(), "n2".into()], names: vec!["one".into(), "two".into()] };
    let progress = Progress { step: 5, ..Progress::default() };
    let sealed = checkpoint::Sealed::new(&state).unwrap();
    checkpoint::save_last(run.path(), &plan, &sealed, &optimizer, &progress, &classes).unwrap();
    let path = checkpoint::last_path(run.path());
    let whole = std::fs::read(&path).unwrap();
    let changes = [
        (r#"\"epoch\":1"#, r#"\"epoch\":0"#),
        (r#"\"top1\":0"#, r#"\"top1\":9"#),
        (r#"\"seconds\":0.0"#, r#"\"seconds\":-9 "#),
        (r#"\"factor\":1.0"#, r#"\"factor\":9.0"#),
        (r#"\"scale\":65536.0"#, r#"\"scale\":-5536.0"#),
        (r#"\"scale\":65536.0"#, r#"\"scale\":9e99   "#),
    ];
    for (was, is) in changes {
        let at = whole.windows(was.len()).position(|bytes| bytes == was.as_bytes()).expect(was);
        std::fs::write(&path, [&whole[..at], is.as_bytes(), &whole[at + is.len()..]].concat()).unwrap();
        let error = checkpoint::load(&path, &plan, Some(&optimizer)).expect_err(is).to_string();
        assert!(error.contains("damaged metadata"), "{is}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_parsed_or_named(text in "([a-c.0-9\t-]{0,12}[\n\r]{0,2}){0,8}|\\PC{0,80}") {
        let lines = text.lines().filter(|line| !line.trim_end().is_empty()).count();
        let boxes = annotations::boxes(&text);
        prop_assert_eq!(boxes.files.len() + boxes.wrong.len(), lines);
        let val = annotations::val(&text);
        prop_assert_eq!(val.files.len() + val.wrong.len(), lines);
        let _ = (annotations::wnids(&text), annotations::names(&text), annotations::named(&text));
    }

    #[test]
    fn annotations_that_are_written_are_read(
        rows in prop::collection::btree_map("[a-z0-9_]{1,9}", ("n[0-9]{8}", prop::option::of(any::<[i16; 4]>())), 0..20),
    ) {
        let line = |(stem, (wnid, bounds)): (&String, &(String, Option<[i16; 4]>))| {
            let bounds = bounds.map_or_else(String::new, |[a, b, c, d]| format!("\t{a}\t{b}\t{c}\t{d}"));
            format!("{stem}.JPEG\t{wnid}{bounds}\r\n")
        };
        let text: String = rows.iter().map(line).collect();
        let read = annotations::val(&text);
        prop_assert!(read.wrong.is_empty(), "{:?}", read.wrong);
        prop_assert_eq!(read.files.len(), rows.len());
        for (stem, (wnid, bounds)) in &rows {
            let (file, said) = read.files[&stem[..]];
            prop_assert_eq!((file, said), (&format!("{stem}.JPEG")[..], (&wnid[..], *bounds)));
        }
    }

    #[test]
    fn any_bytes_decode_or_say_why(bytes in prop::collection::vec(any::<u8>(), 0..200), png in any::<bool>()) {
        let begin: &[u8] = if png { b"\x89PNG\r\n\x1a\n" } else { b"\xff\xd8\xff" };
        prop_assert!(decode::decode(&[begin, &bytes].concat()).is_err());
        let _ = decode::size(&bytes);
    }

    #[test]
    fn a_damaged_pack_is_an_error_or_whole_in_itself(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let data = tempfile::tempdir().unwrap();
        let mut bytes = pack(data.path());
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        std::fs::write(Pack::path_of(data.path(), "train"), &bytes).unwrap();
        if let Ok(pack) = Pack::open(data.path(), "train") {
            prop_assert_eq!(pack.files.len(), pack.images.count);
            prop_assert!(pack.images.labels.is_empty() || pack.images.labels.len() == pack.images.count);
            prop_assert!(pack.images.labels.iter().all(|label| (*label as usize) < pack.wnids.len()));
            for i in 0..pack.images.count {
                prop_assert_eq!(pack.pixels(i).len(), pack.images.height * pack.images.width * 3);
            }
        }
    }
    #[test]
    fn a_damaged_checkpoint_is_an_error_or_has_the_same_numbers(
        optimizer in optimizer(),
        changes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let run = tempfile::tempdir().unwrap();
        let (plan, state) = (plan(), state(&[0.5, -1.25, 3.0, 0.125, 1e-9], &optimizer, true));
        let classes = Classes { wnids: vec!["n1".into(), "n2".into()], names: vec!["one".into(), "two".into()] };
        let path = checkpoint::last_path(run.path());
        let progress = Progress { step: 5, ..Progress::default() };
        let sealed = checkpoint::Sealed::new(&state).unwrap();
        checkpoint::save_last(run.path(), &plan, &sealed, &optimizer, &progress, &classes).unwrap();
        prop_assert!(checkpoint::load(&path, &plan, Some(&optimizer)).is_ok());
        let mut bytes = std::fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        for (in_header, at, value) in changes {
            let at = if in_header { at.index(header) } else { header + at.index(bytes.len() - header) };
            bytes[at] = value;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(loaded) = weights::load(&path, &plan) {
            prop_assert_eq!(loaded.tensors.len(), state.tensors.len());
        }
        if let Ok(read) = checkpoint::load(&path, &plan, Some(&optimizer)) {
            prop_assert_eq!(bits(&read.state.tensors), bits(&state.tensors), "damage was taken for weights");
            prop_assert_eq!(bits(&read.state.averages), bits(&state.averages), "damage was taken for averages");
            prop_assert_eq!(read.classes.wnids.len(), 2);
            prop_assert!(read.progress.epoch >= 1 && read.progress.seconds >= 0.0);
            prop_assert_eq!(read.state.moments.len(), state.moments.len());
            for (read, written) in read.state.moments.iter().zip(&state.moments) {
                prop_assert_eq!(bits(read), bits(written), "damage was taken for moments");
            }
        }
    }
}

proptest! {
    // Each case writes two files and waits until they are on the disk.
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_checkpoint_that_is_written_is_read(
        (optimizer, averaged) in (optimizer(), any::<bool>()),
        numbers in prop::collection::vec(any::<f32>().prop_filter("finite", |n| n.is_finite()), 1..40),
        progress in progress(),
        names in prop::array::uniform2("\\PC{0,20}"),
        variants in prop::collection::btree_map("[a-z.0-9 ]{0,12}", "\\PC{0,12}", 0..4),
        scaling in prop::option::of((0_i32..24, any::<u32>(), any::<u32>())),
    ) {
        let run = tempfile::tempdir().unwrap();
        let (plan, mut state) = (plan(), state(&numbers, &optimizer, averaged));
        state.step = progress.step;
        state.variants = BTreeMap::clone(&variants);
        state.loss_scaling = scaling.map(|(exponent, good_steps, skipped_steps)| LossScaling {
            scale: 2.0_f32.powi(exponent),
            good_steps,
            skipped_steps,
        });
        let classes = Classes { wnids: vec!["n1".into(), "n2".into()], names: names.to_vec() };
        let sealed = checkpoint::Sealed::new(&state).unwrap();
        checkpoint::save_last(run.path(), &plan, &sealed, &optimizer, &progress, &classes).unwrap();
        let read = checkpoint::load(&checkpoint::last_path(run.path()), &plan, Some(&optimizer)).unwrap();
        prop_assert_eq!(bits(&read.state.tensors), bits(&state.tensors));
        prop_assert_eq!(bits(&read.state.averages), bits(&state.averages));
        for (read, written) in read.state.moments.iter().zip(&state.moments) {
            prop_assert_eq!(bits(read), bits(written));
        }
        prop_assert_eq!(read.state.moments.len(), state.moments.len());
        prop_assert_eq!((read.state.step, read.state.variants), (state.step, variants));
        prop_assert_eq!(read.state.loss_scaling, state.loss_scaling);
        prop_assert_eq!((&read.progress, &read.classes), (&progress, &classes));
        // The weights alone, and of two sets those that infer: read without an optimiser, and not enough to go on with.
        let sealed = checkpoint::Sealed::new(&state).unwrap();
        checkpoint::save_best(run.path(), &plan, &sealed, &progress, &classes).unwrap();
        let best = checkpoint::load(&checkpoint::best_path(run.path()), &plan, None).unwrap();
        let inferring = if averaged { &state.averages } else { &state.tensors };
        prop_assert_eq!(bits(&best.state.tensors), bits(inferring));
        prop_assert!(best.state.averages.is_empty());
        prop_assert!(checkpoint::load(&checkpoint::best_path(run.path()), &plan, Some(&optimizer)).is_err());
    }
}
