//! Any bytes as a zip: the archive is refused, or its entries stay in their folder, have the size that was announced, and
//! make a layout whose labels are classes.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use vggkit::dataset::manifest::PrepareSettings;
use vggkit::dataset::source::Source;
use vggkit::dataset::{decode, layout};
use vggkit_fuzz::{data_set, scratch, seed, stays_below, zipped};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

static FILE: OnceLock<PathBuf> = OnceLock::new();

fn seeds() {
    let files = data_set();
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let deflated = SimpleFileOptions::default();
    seed("sources", "deflated", &zipped(&files, "tiny-imagenet-200/", deflated));
    seed("sources", "stored", &zipped(&files, "", stored));
    seed("sources", "large", &zipped(&files[..4], "", stored.large_file(true)));
    let sorted: Vec<_> = files
        .iter()
        .filter(|(name, _)| !name.contains("annotations"))
        .map(|(name, content)| (name.replace("val/images/", "val/n00000001/"), content.clone()))
        .collect();
    seed("sources", "sorted", &zipped(&sorted, "a/b/", stored));
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let path = FILE.get_or_init(|| scratch("sources").join("source.zip"));
    fs::write(path, bytes).expect("the input is written");
    let Ok(source) = Source::open(path) else { return };
    assert!(source.entries().windows(2).all(|pair| pair[0].place < pair[1].place), "sorted, none twice");
    for entry in source.entries() {
        assert!(stays_below(&entry.path), "{:?} leaves its folder", entry.path);
        assert!(stays_below(&entry.place), "{:?} leaves its folder", entry.place);
        assert_eq!(source.find(&entry.place), Some(entry));
        if let Ok(content) = source.read(entry) {
            assert_eq!(content.len() as u64, entry.bytes, "{}", entry.path);
        }
    }
    let Ok(layout) = layout::understand(&source, &PrepareSettings::default()) else { return };
    let size = layout::common_size(&source, &layout);
    assert!(size.0 > 0 && size.1 > 0);
    for split in &layout.splits {
        for image in &split.images {
            assert_eq!(image.label.is_some(), split.labelled);
            assert!(image.label.is_none_or(|label| label < layout.classes.len()));
            assert!(stays_below(&split.target(image, &layout.classes)));
            let Ok(bytes) = source.read(&image.entry) else { continue };
            // Time and memory go with the pixels that a header claims.
            if decode::size(&bytes).is_ok_and(|(rows, columns)| rows * columns > 1 << 18) {
                continue;
            }
            if let Ok(decoded) = decode::decode(&bytes) {
                assert_eq!(decoded.pixels.len(), decoded.size.0 * decoded.size.1 * 3);
            }
        }
    }
});
