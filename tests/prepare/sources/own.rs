//! Own images and sources under other names: what a user brings is used, or named.

use std::fs;
use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;
use vggkit::dataset::{Manifest, Pack};

use super::{PREPARE, packs, raw, vggkit, zip_up};

/// An image of one colour, of the kind that its name says.
fn image(path: &Path, colour: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixels = image::RgbImage::from_fn(20, 16, |x, _| image::Rgb([colour, (x * 9) as u8, 77]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    let format = image::ImageFormat::from_path(path).unwrap();
    pixels.write_to(&mut bytes, format).unwrap();
    fs::write(path, bytes.into_inner()).unwrap();
}

/// Class folders with so many images each, called 0.png, 1.png, ... in all of them.
fn class_folders(root: &Path, classes: &[(&str, usize)]) {
    for (class, (name, count)) in classes.iter().enumerate() {
        for index in 0..*count {
            image(&root.join(name).join(format!("{index}.png")), (class * 80 + index) as u8);
        }
    }
}

const CATS: [(&str, usize); 3] = [("Große Katzen", 12), ("<b>\"dogs\" & more", 10), ("one only", 1)];

#[test]
fn class_folders_alone_are_split_by_seed() {
    let work = tempfile::tempdir().unwrap();
    let pets = work.path().join("pets");
    class_folders(&pets, &CATS);
    class_folders(&work.path().join("inside/one/folder"), &CATS);
    class_folders(&work.path().join("with_train/Train"), &CATS);
    class_folders(&work.path().join("with_train/elsewhere"), &CATS[..1]);
    zip_up(&pets, "pets/", &work.path().join("pets.zip"));
    let prepare = |source: &str, data: &str, more: &[&str]| {
        let mut command = vggkit(work.path());
        command.args(["prepare", "--source", source, "--data", data]).args(more).assert().success()
    };
    let said = contains("own images: 3 classes").and(contains("there is no val: 2 images, a share of 0.1"));
    prepare("pets", "a", &[]).stdout(said.and(contains("one only")));
    let (a, train, val) = (work.path().join("a"), "train", "val");
    let (train, val) = (Pack::open(&a, train).unwrap(), Pack::open(&a, val).unwrap());
    let mut names: Vec<&str> = CATS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!((&train.wnids[..], &train.names[..]), (&names.map_owned()[..], &names.map_owned()[..]));
    assert_eq!((train.images.count, val.images.count), (21, 2));
    for (label, file) in val.images.labels.iter().zip(&val.files) {
        let class = &val.wnids[*label as usize];
        assert!(a.join("val").join(class).join(file).is_file() && !a.join("train").join(class).join(file).exists());
    }
    assert_eq!(Manifest::load(&a).unwrap().held_out.unwrap().share, 0.1);
    for (source, data, said) in [
        ("pets.zip", "b", "no folder train/"),
        ("inside", "c", "no folder train/"),
        ("with_train", "d", "12 images lie outside the folders that are read, such as elsewhere/"),
    ] {
        prepare(source, data, &[]).stdout(contains(said));
        assert!(packs(&work.path().join(data)) == packs(&a), "{source}");
    }
    prepare("pets", "a", &[]).stdout(contains("nothing changed"));
    vggkit(work.path()).args(["verify", "--data", "a"]).assert().success().stdout(contains("own images"));
    prepare("pets", "e", &["--val-share", "0.5", "--seed", "3"]);
    assert_eq!(Pack::open(&work.path().join("e"), "val").unwrap().images.count, 6 + 5);
    prepare("pets", "f", &["--per-class", "2"]);
    assert_eq!(Pack::open(&work.path().join("f"), "val").unwrap().files, val.files, "held out ahead of everything");

    for share in ["0", "1", "-0.1", "x"] {
        vggkit(work.path()).args(["prepare", "--source", "pets", "--val-share", share]).assert().code(2);
    }
    class_folders(&work.path().join("with_train/valid"), &CATS[..2]);
    let wrong = contains("the source has a val");
    let with_val = ["prepare", "--source", "with_train", "--data", "g"];
    vggkit(work.path()).args(with_val).args(["--val-share", "0.2"]).assert().code(2).stderr(wrong);
    let said = contains("val is read from valid/").and(contains("val has no image of 1 classes: one only"));
    prepare("with_train", "g", &[]).stdout(said);
    class_folders(&work.path().join("single"), &[("a", 1), ("b", 1)]);
    let single = ["prepare", "--source", "single", "--data", "h"];
    vggkit(work.path()).args(single).assert().code(1).stderr(contains("no class has two images"));
}

/// Owned copies, to compare with a pack's.
trait MapOwned {
    fn map_owned(&self) -> Vec<String>;
}

impl MapOwned for Vec<&str> {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|name| (*name).to_owned()).collect()
    }
}

#[test]
fn what_lies_in_class_folders_is_used_or_named() {
    let work = tempfile::tempdir().unwrap();
    let root = work.path().join("mine");
    class_folders(&root.join("train"), &[("cat", 4), ("dog", 4), ("Dog", 2)]);
    for name in ["w.webp", "b.bmp", "g.gif", "J.JPG", "sub/deep.png", "Dog.PNG", "dog.png", "DOG.png"] {
        image(&root.join("train/cat").join(name), 200);
    }
    for name in ["notes.txt", "raw.cr2", "noending"] {
        fs::write(root.join("train/dog").join(name), "no image").unwrap();
    }
    for litter in
        ["train/@eaDir/cat/x.jpg", "train/cat/@eaDir/w.webp/T.jpg", "train/.git/a/x.png", "train/cat/._w.webp"]
    {
        fs::create_dir_all(root.join(litter).parent().unwrap()).unwrap();
        fs::write(root.join(litter), "nobody's").unwrap();
    }
    for litter in ["train/cat/Thumbs.db", "train/cat/desktop.ini", "train/.DS_Store"] {
        fs::write(root.join(litter), "nobody's").unwrap();
    }
    fs::create_dir_all(root.join("train/empty")).unwrap();
    image(&root.join("train/loose.png"), 3);
    let named = ["train/dog/notes.txt", "train/dog/raw.cr2", "train/dog/noending", "train/empty/", "train/loose.png"];
    let told = || named.iter().fold(contains("left out").boxed(), |told, name| told.and(contains(*name)).boxed());
    let command = ["prepare", "--source", "mine"];
    vggkit(work.path()).args(command).assert().success().stdout(told().and(contains("5 files")));
    let verified = vggkit(work.path()).args(["verify", "--source", "mine"]).assert().success();
    verified.stdout(
        told().and(contains("file-left-out")).and(contains("file-case").and(contains("upper and lower case only"))),
    );
    let data = work.path().join("data");
    let (train, val) = (Pack::open(&data, "train").unwrap(), Pack::open(&data, "val").unwrap());
    assert_eq!(train.wnids, ["Dog", "cat", "dog"]);
    let mut cats: Vec<String> = Vec::new();
    for pack in [&train, &val] {
        cats.extend(pack.files.iter().zip(pack.images.labels.iter()).filter(|(_, l)| **l == 1).map(|(f, _)| f.clone()));
    }
    cats.sort();
    let all = [
        "0.png",
        "1.png",
        "2.png",
        "3.png",
        "DOG.png",
        "Dog.PNG",
        "J.JPG",
        "b.bmp",
        "dog.png",
        "g.gif",
        "sub_deep.png",
        "w.webp",
    ];
    assert_eq!(cats, all);
    assert_eq!((train.images.height, train.images.width), (16, 20));
    let left: Vec<String> = Manifest::load(&data).unwrap().left_out.into_iter().map(|file| file.path).collect();
    assert!(named.iter().all(|name| left.contains(&(*name).to_owned())) && left.len() == 5, "{left:?}");
    vggkit(work.path()).args(command).args(["--size", "24", "--force"]).assert().success().stdout(contains("24 x 24"));

    // What cannot be read stops everything by its name, and only that is left out when asked.
    fs::write(root.join("train/dog/photo.heic"), b"\0\0\0\x18ftypheic\0\0\0\0heicmif1").unwrap();
    let wrong = contains("train/dog/photo.heic: ").and(contains("--skip-corrupt"));
    vggkit(work.path()).args(command).assert().code(1).stderr(wrong);
    let left = contains("photo.heic");
    vggkit(work.path()).args(command).arg("--skip-corrupt").assert().success().stdout(left);
}

#[test]
fn a_test_in_class_folders_has_labels() {
    let work = tempfile::tempdir().unwrap();
    let root = work.path().join("mine");
    class_folders(&root.join("training"), &[("cat", 5), ("dog", 5)]);
    class_folders(&root.join("testing"), &[("cat", 2), ("dog", 3)]);
    vggkit(work.path()).args(["prepare", "--source", "mine"]).assert().success().stdout(contains("it has labels"));
    let data = work.path().join("data");
    let test = Pack::open(&data, "test").unwrap();
    assert_eq!(*test.images.labels, [0, 0, 1, 1, 1]);
    assert_eq!(test.image_names(), ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", "2.png"]);
    assert!(data.join("test/dog/2.png").is_file());
    vggkit(work.path()).arg("verify").assert().success();
    fs::rename(root.join("testing/dog"), root.join("testing/bird")).unwrap();
    vggkit(work.path()).args(["prepare", "--source", "mine"]).assert().success();
    let test = Pack::open(&data, "test").unwrap();
    assert!(test.images.labels.is_empty(), "of a class that train lacks: not labels");
    assert_eq!(test.files, ["bird_0.png", "bird_1.png", "bird_2.png", "cat_0.png", "cat_1.png"]);
}

#[test]
fn a_zip_of_windows_is_read() {
    let (work, raw) = raw(2, 3);
    let windows = work.path().join("windows.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&windows).unwrap());
    for entry in walkdir::WalkDir::new(&raw).sort_by_file_name() {
        let entry = entry.unwrap();
        let below = entry.path().strip_prefix(&raw).unwrap().to_str().unwrap().replace('/', "\\");
        let options = zip::write::SimpleFileOptions::default();
        if entry.file_type().is_file() {
            zip.start_file(format!("tiny\\{below}"), options).unwrap();
            std::io::Write::write_all(&mut zip, &fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    for litter in ["__MACOSX/tiny/train/x/images/a.JPEG", "tiny/train/@eaDir/b.JPEG"] {
        zip.start_file(litter, zip::write::SimpleFileOptions::default()).unwrap();
    }
    zip.finish().unwrap();
    vggkit(work.path()).args(["prepare", "--source", "windows.zip", "--data", "a"]).assert().success();
    vggkit(work.path()).args(PREPARE).args(["--data", "b"]).assert().success();
    assert!(packs(&work.path().join("a")) == packs(&work.path().join("b")));
}

#[test]
fn a_class_that_lacks_a_split_matters_only_where_it_is_taken() {
    let (work, raw) = raw(3, 3);
    fs::remove_dir_all(raw.join("train/n90000003")).unwrap();
    let mut command = vggkit(work.path());
    let wrong = contains("(n90000003)").and(contains("--classes n90000001,n90000002"));
    command.args(PREPARE).assert().code(1).stderr(wrong);
    for classes in ["n90000001,n90000002", "disc,RING"] {
        vggkit(work.path()).args(PREPARE).args(["--force", "--classes", classes]).assert().success();
        let data = work.path().join("data");
        assert_eq!(Manifest::load(&data).unwrap().classes.len(), 2);
        assert_eq!(Pack::open(&data, "val").unwrap().images.count, 2);
    }
    let mut command = vggkit(work.path());
    let wrong = contains("`n90000003` has no images in train/");
    command.args(PREPARE).args(["--classes", "n90000001,n90000003"]).assert().code(2).stderr(wrong);
    let mut command = vggkit(work.path());
    command.args(PREPARE).args(["--classes", "dics"]).assert().code(2).stderr(contains("the nearest is `disc`"));
    let words = fs::read_to_string(raw.join("words.txt")).unwrap();
    fs::write(raw.join("words.txt"), words.replace("n90000002\t", "n90000002\tdisc, ")).unwrap();
    let mut command = vggkit(work.path());
    let wrong = contains("`disc` is the name of several classes").and(contains("n90000002"));
    command.args(PREPARE).args(["--classes", "disc"]).assert().code(2).stderr(wrong);
}

#[test]
fn the_archive_unpacked_into_the_data_folder_is_used_where_it_lies() {
    let (work, raw) = raw(3, 3);
    vggkit(work.path()).args(PREPARE).args(["--data", "other"]).assert().success();
    let data = work.path().join("data");
    fs::rename(&raw, &data).unwrap();
    let tree = || {
        let all = walkdir::WalkDir::new(&data).sort_by_file_name().into_iter().map(|e| e.unwrap().path().to_owned());
        let of_source = |path: &std::path::PathBuf| {
            let below = path.strip_prefix(&data).unwrap();
            ["train", "val", "test"].iter().any(|split| below.starts_with(split)) && path.is_file()
        };
        all.filter(of_source).map(|path| (path.clone(), fs::read(path).unwrap())).collect::<Vec<_>>()
    };
    let before = tree();
    vggkit(work.path()).arg("prepare").assert().success().stdout(contains("they stay as they are"));
    assert!(packs(&data) == packs(&work.path().join("other")), "the same packs as ever");
    assert!(tree() == before && Manifest::load(&data).unwrap().source.in_place);
    vggkit(work.path()).arg("prepare").assert().success().stdout(contains("nothing changed"));
    vggkit(work.path()).arg("verify").assert().success();
    vggkit(work.path()).args(["prepare", "--classes", "2", "--source", "data", "--force"]).assert().success();
    assert!(tree() == before);
    // Class folders alone can lie there too.
    class_folders(&work.path().join("flat"), &CATS[..2]);
    for _ in 0..2 {
        let in_place = ["prepare", "--force", "--source", "flat", "--data", "flat"];
        vggkit(work.path()).args(in_place).assert().success().stdout(contains("2 classes"));
    }
    assert!(work.path().join("flat").join(CATS[0].0).join("0.png").is_file());
    // And another source does not take its place unasked.
    let mut command = vggkit(work.path());
    command.args(["prepare", "--source", "other"]).assert().code(1).stderr(contains("train/"));
    assert!(tree() == before);
    let mut command = vggkit(work.path());
    let itself = contains("the data folder itself");
    command.args(["prepare", "--source", "other", "--data", "other"]).assert().code(2).stderr(itself);
}

#[test]
fn what_is_no_archive_is_called_by_its_name() {
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name);
    fs::write(at("page.zip"), "<!DOCTYPE html>\n<html><body>Sign in</body></html>").unwrap();
    fs::write(at("data.tar.gz"), b"\x1f\x8b\x08\0\0\0\0\0").unwrap();
    fs::write(at("empty.zip"), b"").unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/tiny.zip"), b"PK").unwrap();
    fs::create_dir(at("in")).unwrap();
    zip_up(&at("folder"), "", &at("nested.zip"));
    class_folders(&at("loose"), &[("", 3)]);
    class_folders(&at("single"), &[("cats", 3)]);
    for (source, what, next) in [
        ("page.zip", "is a web page", "open it in a browser"),
        ("data.tar.gz", "gzip", "tar -xzf data.tar.gz"),
        ("empty.zip", "is empty", "again"),
        ("nested.zip", "another archive, tiny.zip", "train/<class>/"),
        ("folder", "another archive, tiny.zip", "train/<class>/"),
        ("in", "no files in it", "train/<class>/"),
        ("loose", "lie in no class folders", "train/<class>/"),
        ("single", "one class folder only, cats", "train/<class>/"),
    ] {
        let mut command = vggkit(work.path());
        let wrong = contains(what).and(contains(next)).and(contains("cut short").not());
        command.args(["prepare", "--source", source]).assert().code(1).stderr(wrong);
        let mut command = vggkit(work.path());
        command.args(["verify", "--source", source]).assert().code(1).stdout(contains(what));
    }
}
