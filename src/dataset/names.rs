//! What files and folders are called in a data set, which are nobody's, how large one may be and where the official ones come from.
//! Looks at no file.

/// Lists that are read, below the root.
pub const LISTS: [&str; 2] = ["wnids.txt", "words.txt"];

/// The list of val, in its folder.
pub const ANNOTATIONS: &str = "val_annotations.txt";

/// Whether systems leave a file or folder of this name wherever they show or pack one: it is nobody's.
pub fn is_litter(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        ".DS_Store",
        "__MACOSX",
        "Thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        ".directory",
        "@eaDir",
        "#recycle",
        "@Recycle",
    ];
    name.starts_with("._") || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a file or folder of this name is part of a source.
pub fn is_wanted(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !is_litter(name)
}

/// How names of image files end. Whether such a file can be read is `decode`'s to say, which names what it cannot.
const IMAGES: [&str; 15] =
    ["jpeg", "jpg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "heic", "heif", "avif", "jxl", "jp2"];

/// Whether a file is one of the images, by its name.
pub fn is_image(file: &str) -> bool {
    let extension = file.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|e| IMAGES.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// All that `prepare` writes besides the manifest.
pub const PARTS: [&str; 4] = ["train", "val", "test", "packs"];

/// Where the official archive is found.
pub const OFFICIAL_URL: &str = "http://cs231n.stanford.edu/tiny-imagenet-200.zip";

/// The largest file that is read: words.txt has 2.7 MB, an image a few kB.
pub const LARGEST_FILE: u64 = 64 << 20;
