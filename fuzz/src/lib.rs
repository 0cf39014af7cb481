//! What the fuzz targets share: a place for the files of one process, first inputs, and small images to make them of.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, RgbImage};
use zip::write::SimpleFileOptions;

/// An empty folder for this process, in memory where the system has such a place.
pub fn scratch(target: &str) -> PathBuf {
    let shared = Path::new("/dev/shm");
    let place = if shared.is_dir() { shared.to_path_buf() } else { std::env::temp_dir() };
    let folder = place.join(format!("vggkit-fuzz-{target}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for files");
    folder
}

/// Keeps a first input where `cargo fuzz run` looks for them.
pub fn seed(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).expect("a folder for seeds");
    fs::write(folder.join(name), bytes).expect("a seed");
}

/// A picture that is not plain, of these rows and columns.
pub fn picture(rows: u32, columns: u32) -> DynamicImage {
    let colour = |x, y| image::Rgb([(x * 31 % 256) as u8, (y * 17 % 256) as u8, ((x + y) * 7 % 256) as u8]);
    RgbImage::from_fn(columns, rows, colour).into()
}

/// An image as a file.
pub fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("an encoded image");
    bytes.into_inner()
}

/// A small data set in the official layout: paths and contents.
pub fn data_set() -> Vec<(String, Vec<u8>)> {
    let jpeg = encoded(&picture(8, 8), ImageFormat::Jpeg);
    let mut files: Vec<(String, Vec<u8>)> = vec![
        ("wnids.txt".into(), b"n00000001\nn00000002\n".to_vec()),
        ("words.txt".into(), b"n00000001\tone, first\nn00000002\ttwo\n".to_vec()),
        (
            "val/val_annotations.txt".into(),
            b"val_0.JPEG\tn00000002\t0\t1\t7\t6\nval_1.JPEG\tn00000001\t2\t0\t5\t7\n".to_vec(),
        ),
    ];
    for wnid in ["n00000001", "n00000002"] {
        let boxes = format!("{wnid}_0.JPEG\t0\t0\t7\t7\n{wnid}_1.JPEG\t1\t2\t3\t4\n");
        files.push((format!("train/{wnid}/{wnid}_boxes.txt"), boxes.into_bytes()));
        files.extend((0..2).map(|i| (format!("train/{wnid}/images/{wnid}_{i}.JPEG"), jpeg.clone())));
    }
    files.extend((0..2).map(|i| (format!("val/images/val_{i}.JPEG"), jpeg.clone())));
    files.push(("test/images/test_0.JPEG".into(), jpeg));
    files
}

/// Files as a zip, each name behind `prefix`.
pub fn zipped(files: &[(String, Vec<u8>)], prefix: &str, options: SimpleFileOptions) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(format!("{prefix}{name}"), options).expect("an entry");
        zip.write_all(content).expect("its content");
    }
    zip.finish().expect("a zip").into_inner()
}

/// Whether a path stays below the folder it is put in.
pub fn stays_below(path: &str) -> bool {
    !path.starts_with('/') && !path.contains(['\\', ':', '\n', '\r', '\0']) && path.split('/').all(|part| part != "..")
}
