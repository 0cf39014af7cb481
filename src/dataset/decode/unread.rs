//! What a file is that is not read, and what makes an image of it.

use file_format::{FileFormat, Kind};

/// Says it for people.
pub fn reason(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the file is empty".into();
    }
    if bytes.starts_with(b"version https://git-lfs.github.com/") {
        return "no image, but Git LFS's note of where it is: `git lfs pull` fetches it".into();
    }
    let format = FileFormat::from_bytes(bytes);
    let name = match format.short_name() {
        Some(short) if short != format.name() => format!("{short} ({})", format.name()),
        _ => format.name().to_owned(),
    };
    match (format, format.kind()) {
        (FileFormat::ArbitraryBinaryData, _) => "no image: it begins like no known format".into(),
        (FileFormat::PlainText, _) => "no image, but text".into(),
        (FileFormat::HypertextMarkupLanguage, _) => {
            "no image, but a web page: perhaps what a server sent in its place".into()
        }
        (FileFormat::PortableDocumentFormat, _) => {
            format!("{name} is not read: `pdftoppm -png FILE out` makes images of its pages")
        }
        (_, Kind::Image) => format!("{name} is not read: make it PNG or JPEG, as `magick FILE out.png` does"),
        (FileFormat::Mpeg4Part14, _) | (_, Kind::Video) => {
            format!("{name} is not read: `ffmpeg -i FILE -frames:v 1 out.png` takes its first picture")
        }
        _ => format!("no image, but {name}"),
    }
}
