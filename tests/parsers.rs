//! Laws of what reads text and files from anyone: nothing panics, what is written is read, and damage is never taken for
//! data.

use proptest::prelude::*;
use vggkit::dataset::pack_writer::{PackHeader, PackWriter};
use vggkit::dataset::{Pack, annotations, decode};
use vggkit::engine::Normalisation;

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
}
