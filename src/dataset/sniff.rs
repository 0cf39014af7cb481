//! What a file is that is given as a source and is no zip archive, by its first bytes, and what to do with it.
//!
//! Knows the kinds that people have instead of an archive; reads the beginning of a file and nothing else.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::files::fs;

/// A tar archive has its magic here.
const TAR_AT: usize = 257;

/// An error that says what the file is; nothing where it may be a zip archive.
pub fn refuse_other_kinds(path: &Path) -> Result<()> {
    let mut start = Vec::new();
    let cannot = |e| Error::io("cannot read", path, e);
    fs::open(path).map_err(cannot)?.take(1024).read_to_end(&mut start).map_err(cannot)?;
    match kind(&start, &path.display().to_string()) {
        Some((what, help)) => Err(Error::data(path, format!("is {what}, not a zip archive")).with_help(help)),
        None => Ok(()),
    }
}

/// What begins so, and what to do.
fn kind(start: &[u8], path: &str) -> Option<(&'static str, String)> {
    let unpack = |command: &str| format!("unpack it with `{command}`, and give the folder with --source");
    let tar = |flag: &str| unpack(&format!("tar -x{flag}f {path}"));
    let again =
        || "the address gave this in the place of the archive: open it in a browser, and download again".to_owned();
    let magic: [(&[u8], &'static str, String); 18] = [
        (b"\x1f\x8b", "compressed with gzip (a .tar.gz, mostly)", tar("z")),
        (b"BZh", "compressed with bzip2 (a .tar.bz2, mostly)", tar("j")),
        (b"\xfd7zXZ\0", "compressed with xz (a .tar.xz, mostly)", tar("J")),
        (
            b"\x28\xb5\x2f\xfd",
            "compressed with Zstandard (a .tar.zst, mostly)",
            unpack(&format!("tar --zstd -xf {path}")),
        ),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", unpack(&format!("7z x {path}"))),
        (b"Rar!\x1a\x07", "a RAR archive", unpack(&format!("unrar x {path}"))),
        (
            b"version https://git-lfs",
            "a pointer of Git LFS, not the file itself",
            "fetch the file with `git lfs pull`".into(),
        ),
        (
            b"PAR1",
            "a Parquet file",
            "write its images as files into a folder for each class, and give that with --source".into(),
        ),
        (
            b"\x89HDF",
            "an HDF5 file",
            "write its images as files into a folder for each class, and give that with --source".into(),
        ),
        (b"%PDF", "a PDF document", again()),
        (b"\xff\xd8\xff", "one JPEG image", one_image()),
        (b"\x89PNG", "one PNG image", one_image()),
        (b"GIF8", "one GIF image", one_image()),
        (b"BM", "one BMP image", one_image()),
        (b"<?xml", "an XML document, such as servers answer errors with", again()),
        (b"{", "JSON text", again()),
        (b"<!--", "a web page", again()),
        (
            b"\x93NUMPY",
            "a NumPy array",
            "write its images as files into a folder for each class, and give that with --source".into(),
        ),
    ];
    if start.is_empty() {
        return Some(("empty", "download or copy it again".into()));
    }
    let text = start.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lower: Vec<u8> = text.iter().take(16).map(u8::to_ascii_lowercase).collect();
    if lower.starts_with(b"<!doctype html") || lower.starts_with(b"<html") || lower.starts_with(b"<head") {
        return Some(("a web page", again()));
    }
    if start.get(TAR_AT..TAR_AT + 5) == Some(b"ustar") {
        return Some(("a tar archive", tar("")));
    }
    magic.into_iter().find(|(magic, ..)| start.starts_with(magic)).map(|(_, what, help)| (what, help))
}

fn one_image() -> String {
    "name the folder that holds a folder of images for each class; `vggkit predict --image` takes single images".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_have_instead_of_a_zip_is_called_by_its_name() {
        let mut tar = vec![0; 512];
        tar[TAR_AT..TAR_AT + 5].copy_from_slice(b"ustar");
        for (start, what, next) in [
            (&b""[..], "empty", "again"),
            (b"\x1f\x8b\x08\0\0", "gzip", "tar -xzf a.zip"),
            (b"BZh91AY", "bzip2", "tar -xjf"),
            (b"\xfd7zXZ\0\0", "xz", "tar -xJf"),
            (b"7z\xbc\xaf\x27\x1c\0", "7-Zip", "7z x"),
            (b"Rar!\x1a\x07\0", "RAR", "unrar x"),
            (&tar, "tar archive", "tar -xf"),
            (b"\n<!DOCTYPE html><html>", "web page", "download again"),
            (b"\xef\xbb\xbf<HTML lang=en>", "web page", "browser"),
            (b"<?xml version='1.0'?><Error>", "XML", "again"),
            (b"version https://git-lfs.github.com/spec/v1", "Git LFS", "git lfs pull"),
            (b"PAR1\x15\x04", "Parquet", "a folder for each class"),
            (b"\xff\xd8\xff\xe0", "JPEG", "predict --image"),
        ] {
            let (said, help) = kind(start, "a.zip").unwrap();
            assert!(said.contains(what) && help.contains(next), "{said}: {help}");
        }
        assert_eq!(kind(b"PK\x03\x04", "a.zip"), None);
    }
}
