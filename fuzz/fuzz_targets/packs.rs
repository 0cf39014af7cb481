//! Any bytes as a pack: refused, or whole in itself.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use vggkit::dataset::Pack;
use vggkit::dataset::pack_writer::{PackHeader, PackWriter};
use vggkit::engine::Normalisation;
use vggkit_fuzz::{scratch, seed};

static DATA: OnceLock<PathBuf> = OnceLock::new();

fn seeds() {
    let data = DATA.get_or_init(|| scratch("packs"));
    let train = PackHeader {
        split: "train".into(),
        synthetic: false,
        height: 3,
        width: 2,
        wnids: vec!["n1".into(), "n2".into()],
        names: vec!["one".into(), "two \"2\"".into()],
        files: vec!["a.JPEG".into(), "b.JPEG".into(), "c.JPEG".into()],
        labels: Some(vec![0, 1, 1]),
        boxes: Some(vec![[0, 0, 1, 1]; 3]),
    };
    let test = PackHeader { split: "test".into(), labels: None, boxes: None, ..train.clone() };
    for header in [train, test] {
        let path = Pack::path_of(data, "train");
        let writer = PackWriter::create(&path, &header).expect("a pack is begun");
        writer.write(0, &(0..54).collect::<Vec<u8>>()).expect("its pixels are written");
        writer.finish(Normalisation { mean: [0.1, 0.5, 0.4], std: [0.2, 1.0, 0.25] }).expect("a pack");
        seed("packs", &header.split, &fs::read(path).expect("its bytes"));
    }
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let data = DATA.get().expect("made with the seeds");
    fs::write(Pack::path_of(data, "train"), bytes).expect("the input is written");
    let Ok(pack) = Pack::open(data, "train") else { return };
    let images = &pack.images;
    assert_eq!(pack.files.len(), images.count);
    assert_eq!(pack.names.len(), pack.wnids.len());
    assert!(images.labels.is_empty() || images.labels.len() == images.count);
    assert!(images.labels.iter().all(|label| (*label as usize) < pack.wnids.len()));
    assert!(pack.boxes.is_empty() || pack.boxes.len() == images.count);
    let Normalisation { mean, std } = pack.normalisation;
    assert!(mean.iter().all(|m| m.is_finite()) && std.iter().all(|s| s.is_finite() && *s > 0.0));
    let mut sum = 0_u64;
    for image in 0..images.count {
        let pixels = pack.pixels(image);
        assert_eq!(pixels.len(), images.height * images.width * 3);
        sum += pixels.iter().map(|value| u64::from(*value)).sum::<u64>();
    }
    std::hint::black_box(sum);
});
