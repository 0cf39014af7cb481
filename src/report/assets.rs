//! The page's images as files beside it, for whoever would rather not have one large file.
//!
//! It changes nothing but the addresses of images: `src="data:..."` becomes the path of a file named by its content.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::files;

/// Characters of an image's hash in its name: enough to tell a page's images apart.
const NAME: usize = 16;

/// A page whose images lie beside it.
pub struct Split {
    pub html: String,
    /// Bytes by file name.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Takes the embedded images out; `folder` is where the page will find them.
pub fn split(html: &str, folder: &str) -> Split {
    const START: &str = "src=\"data:image/";
    let mut split = Split { html: String::with_capacity(html.len() / 2), files: BTreeMap::new() };
    let mut rest = html;
    while let Some(at) = rest.find(START) {
        let (before, image) = rest.split_at(at);
        split.html.push_str(before);
        let end = image[START.len()..].find('"').map_or(image.len(), |quote| START.len() + quote);
        let found = image[START.len()..end].split_once(";base64,");
        match found.and_then(|(kind, text)| Some((kind, STANDARD.decode(text).ok()?))) {
            Some((kind, bytes)) => {
                let hash = files::hex(&Sha256::digest(&bytes));
                let name = format!("{}.{kind}", &hash[..NAME]);
                split.html.push_str(&format!("src=\"{folder}/{name}"));
                split.files.insert(name, bytes);
            }
            None => split.html.push_str(&image[..end]),
        }
        rest = &image[end..];
    }
    split.html.push_str(rest);
    split
}

/// Whether a file of an image may be called so.
pub fn is_name(name: &str) -> bool {
    let hash = |hash: &str| hash.len() == NAME && hash.bytes().all(|b| b.is_ascii_hexdigit());
    name.split_once('.').is_some_and(|(stem, kind)| hash(stem) && !kind.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_images_become_one_file_and_the_rest_stays() {
        let image = format!("<img src=\"data:image/png;base64,{}\" alt=\"a\">", STANDARD.encode(b"pixels"));
        let page = format!("<p>é</p>{image}<p>src=data</p>{image}<img src=\"data:image/png;base64,*\">");
        let Split { html, files } = split(&page, "x");
        let name = files.keys().next().expect("a file").clone();
        assert_eq!((files.len(), files[&name].as_slice()), (1, b"pixels".as_slice()));
        let image = format!("<img src=\"x/{name}\" alt=\"a\">");
        assert_eq!(html, format!("<p>é</p>{image}<p>src=data</p>{image}<img src=\"data:image/png;base64,*\">"));
        assert!(name.ends_with(".png") && name.len() == NAME + 4 && is_name(&name) && !is_name("cat.png"));
    }
}
