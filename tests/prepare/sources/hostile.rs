//! Archives that no data set needs are refused by the name of their entry, and write nothing.

use std::fs::{self, File};
use std::io::Write;

use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{raw, vggkit, zip_up};

/// A folder with `inside/a.zip`, which holds a whole data set and what is added.
struct Archive {
    work: TempDir,
    good: Vec<u8>,
}

impl Archive {
    fn new() -> Self {
        let (work, raw) = raw(2, 3);
        let inside = work.path().join("inside");
        fs::create_dir(&inside).unwrap();
        zip_up(&raw, "tiny/", &inside.join("a.zip"));
        fs::remove_dir_all(raw).unwrap();
        let good = fs::read(inside.join("a.zip")).unwrap();
        Self { work, good }
    }

    /// The good archive with more entries.
    fn with(&self, add: impl FnOnce(&mut ZipWriter<File>)) -> Vec<u8> {
        let path = self.work.path().join("inside/a.zip");
        fs::write(&path, &self.good).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut zip = ZipWriter::new_append(file).unwrap();
        add(&mut zip);
        zip.finish().unwrap();
        fs::read(path).unwrap()
    }

    /// Prepares from these bytes: exit code 1, every text named, nothing written anywhere.
    #[track_caller]
    fn refused(&self, bytes: &[u8], texts: &[&str]) {
        let inside = self.work.path().join("inside");
        fs::write(inside.join("a.zip"), bytes).unwrap();
        let output = vggkit(&inside).args(["prepare", "--source", "a.zip"]).assert().code(1);
        let said = String::from_utf8(output.get_output().stderr.clone()).unwrap();
        for text in texts {
            assert!(said.contains(text), "`{text}` is not in: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(fs::read_dir(self.work.path()).unwrap().count(), 1, "nothing beside the working folder");
        for name in ["manifest.json", "packs", "train", "packs.partial", "train.partial"] {
            assert!(!inside.join("data").join(name).exists(), "{name}");
        }
        assert!(!std::path::Path::new("/tmp/vggkit-evil.JPEG").exists());
    }
}

fn options() -> SimpleFileOptions {
    SimpleFileOptions::default()
}

/// Where the entry whose name ends so begins in the archive's directory.
fn directory_entry(bytes: &[u8], name_end: &str) -> usize {
    (0..bytes.len() - 46)
        .filter(|&at| bytes[at..].starts_with(b"PK\x01\x02"))
        .find(|&at| {
            let length = u16::from_le_bytes([bytes[at + 28], bytes[at + 29]]) as usize;
            bytes[at + 46..at + 46 + length].ends_with(name_end.as_bytes())
        })
        .unwrap()
}

#[test]
fn names_that_leave_their_folder_are_refused() {
    let archive = Archive::new();
    let names = [
        "../evil.JPEG",
        "tiny/train/n90000001/images/../../../../../evil.JPEG",
        "/tmp/vggkit-evil.JPEG",
        "C:/evil.JPEG",
        "tiny\\..\\..\\evil.JPEG",
        "tiny/train/n90000001/images/a\nb.JPEG",
    ];
    for name in names {
        let bytes = archive.with(|zip| zip.start_file(name, options()).unwrap());
        let escaped = name.escape_debug().to_string();
        archive.refused(&bytes, &["refused", "outside its folder", &escaped]);
    }
}

#[test]
fn links_and_encrypted_entries_are_refused() {
    let archive = Archive::new();
    let link = "tiny/train/n90000001/images/n90000001_9.JPEG";
    let bytes = archive.with(|zip| zip.add_symlink(link, "/etc/passwd", options()).unwrap());
    archive.refused(&bytes, &[link, "is a symbolic link"]);
    // Bit 0 of the flags in the archive's directory says that an entry is encrypted.
    let mut bytes = archive.good.clone();
    let at = directory_entry(&bytes, "n90000002_1.JPEG");
    bytes[at + 8] |= 1;
    archive.refused(&bytes, &["tiny/train/n90000002/images/n90000002_1.JPEG", "is encrypted"]);
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let archive = Archive::new();
    // Of the same length as another: its entry is then renamed in place, header and directory.
    let bytes = archive.with(|zip| {
        zip.start_file("tiny/train/n90000001/images/n90000001_X.JPEG", options()).unwrap();
        zip.write_all(b"another").unwrap();
    });
    let text = String::from_utf8_lossy(&bytes).matches("n90000001_X.JPEG").count();
    assert_eq!(text, 2);
    let renamed: Vec<u8> = {
        let mut bytes = bytes;
        for at in 0..bytes.len() - 16 {
            if bytes[at..].starts_with(b"n90000001_X.JPEG") {
                bytes[at..at + 16].copy_from_slice(b"n90000001_0.JPEG");
            }
        }
        bytes
    };
    archive.refused(&renamed, &["tiny/train/n90000001/images/n90000001_0.JPEG", "stands twice"]);
}

#[test]
fn bombs_are_refused() {
    let archive = Archive::new();
    let zeros = vec![0; 1 << 20];
    let bytes = archive.with(|zip| {
        zip.start_file("tiny/bomb", options()).unwrap();
        (0..8).for_each(|_| zip.write_all(&zeros).unwrap());
    });
    archive.refused(&bytes, &["tiny/bomb", "would grow from", "to 8388608 bytes"]);
    // Larger than any file of the layout, at a modest ratio.
    let noise: Vec<u8> = (0..1_u64 << 20).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let bytes = archive.with(|zip| {
        zip.start_file("tiny/words.txt.new", options()).unwrap();
        zip.start_file("tiny/train/n90000001/images/big.JPEG", options()).unwrap();
        (0..65).for_each(|_| zip.write_all(&noise).unwrap());
    });
    archive.refused(&bytes, &["big.JPEG", "has 68157440 bytes"]);
    // A size in the directory that is a lie: reading ends where the announced size ends.
    let mut bytes = archive.good.clone();
    let at = directory_entry(&bytes, "n90000001_0.JPEG");
    bytes[at + 24] = bytes[at + 24].wrapping_sub(1);
    archive.refused(&bytes, &["n90000001_0.JPEG", "nothing was prepared"]);
    // All of it together: claims of 2 GB each, 40 times, at a ratio that would pass.
    let mut many = archive.with(|zip| {
        for i in 0..40 {
            zip.start_file(format!("tiny/more{i}"), options().compression_method(zip::CompressionMethod::Stored))
                .unwrap();
            zip.write_all(&noise[..1000]).unwrap();
        }
    });
    for i in 0..40 {
        let at = directory_entry(&many, &format!("tiny/more{i}"));
        many[at + 20..at + 24].copy_from_slice(&(1_u32 << 31).to_le_bytes());
        many[at + 24..at + 28].copy_from_slice(&(1_u32 << 31).to_le_bytes());
    }
    archive.refused(&many, &["tiny/more3", "would unpack to over"]);
}

#[test]
fn more_entries_than_any_data_set_has_are_refused() {
    const ENTRIES: u32 = 1_000_001;
    let archive = Archive::new();
    // Written by hand: one header and a directory whose entries all point to it, at the end as zip64 counts them.
    let name = |i: u32| format!("{i:07}");
    let mut bytes = b"PK\x03\x04\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0".to_vec();
    bytes.extend(name(0).bytes());
    let directory = bytes.len() as u64;
    for i in 0..ENTRIES {
        bytes.extend(b"PK\x01\x02\x0a\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0");
        bytes.extend([0; 16]);
        bytes.extend(name(i).bytes());
    }
    let end = bytes.len() as u64;
    bytes.extend(b"PK\x06\x06");
    bytes.extend(44_u64.to_le_bytes());
    bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [ENTRIES.into(), ENTRIES.into(), end - directory, directory] {
        bytes.extend(u64::to_le_bytes(number));
    }
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(end.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    archive.refused(&bytes, &["refused: 1000001 entries", "no data set has over 1000000"]);
}

#[test]
fn damage_is_named() {
    let archive = Archive::new();
    let good = &archive.good;
    // A directory that is cut, from its end and from within.
    archive.refused(&good[..good.len() - 30], &["not a whole zip archive"]);
    let directory = directory_entry(good, "");
    let cut = [&good[..directory], &good[directory + 200..]].concat();
    archive.refused(&cut, &["a.zip"]);
    let end = good.len() - 22;
    let fewer = [&good[..end - 300], &good[end..]].concat();
    archive.refused(&fewer, &["a.zip"]);
    archive.refused(&good[..good.len() / 3], &["not a whole zip archive"]);
    // Checksums and contents of two entries: both are named.
    let mut bytes = good.clone();
    for name in ["n90000001_1.JPEG", "n90000002_2.JPEG"] {
        let at = directory_entry(&bytes, name);
        bytes[at + 16] ^= 1;
    }
    archive
        .refused(&bytes, &["2 files of", "n90000001_1.JPEG", "n90000002_2.JPEG", "checksum", "nothing was prepared"]);
    vggkit(&archive.work.path().join("inside"))
        .args(["prepare", "--source", "a.zip", "--skip-corrupt"])
        .assert()
        .success()
        .stdout(contains("2 files").and(contains("checksum")));
}

#[test]
fn a_flipped_byte_ends_in_an_error_or_the_right_data() {
    let archive = Archive::new();
    let inside = archive.work.path().join("inside");
    let prepare = ["prepare", "--source", "a.zip", "--no-folders", "--force"];
    fs::write(inside.join("a.zip"), &archive.good).unwrap();
    vggkit(&inside).args(prepare).assert().success();
    let directory = directory_entry(&archive.good, "");
    let right = super::packs(&inside.join("data"));
    for round in 0..60 {
        let mut bytes = archive.good.clone();
        // Spread over the file, and dense in the directory at its end.
        let at = if round % 2 == 0 { bytes.len() * round / 60 } else { bytes.len() - 1 - round * 31 };
        bytes[at] ^= 1 << (round % 8);
        fs::write(inside.join("a.zip"), bytes).unwrap();
        let output = vggkit(&inside).args(prepare).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "byte {at}: {said}");
        assert!(!said.contains("panicked"), "byte {at}: {said}");
        // The directory has no checksum of its own: a file there may well have another name.
        if output.status.success() && at < directory {
            assert!(super::packs(&inside.join("data")) == right, "byte {at} changed the data unseen");
        }
    }
}
