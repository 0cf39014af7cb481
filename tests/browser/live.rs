//! The page with a network in it: dropped images are answered as `vggkit predict --image` answers them, and without WebGPU the
//! page is whole. Grad-CAM is that of the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use serde_json::{Value, json};
use vggkit::dataset::Pack;
use vggkit::engine::cpu::CpuEngine;
use vggkit::engine::{Batch, Engine, Pick, Settings, Source};
use vggkit::inference::grad_cam::Head;
use vggkit::inference::inside;
use vggkit::training::checkpoint;
use vggkit::training::run::Run;

use super::accessibility::violations;
use super::chromium;
use super::page::{LAPTOP, Page, View};

/// A demo set of few classes and a network that learnt a little of it, with its live page in site/.
struct Demo(tempfile::TempDir);

impl Demo {
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::cargo_bin("vggkit").expect("the program");
        let output = command.current_dir(self.0.path()).args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn new(network: &[&str], weights: &str) -> Self {
        let demo = Self(tempfile::tempdir().expect("a folder"));
        demo.run(&["prepare", "--demo", "--quiet", "--classes", "5", "--per-class", "20"]);
        let train =
            ["train", "--quiet", "--engine", "cpu", "--data", "data/demo", "--run", "demo-a", "-e", "8", "-b", "10"];
        demo.run(&[&train[..], network].concat());
        let report = ["report", "--live", "demo-a", "--data", "data/demo", "--quiet"];
        let weights: &[&str] = if weights.is_empty() { &[] } else { &["--live-weights", weights] };
        demo.run(&[&report[..], weights].concat());
        demo
    }

    fn page(&self) -> PathBuf {
        self.0.path().join("site/live.html")
    }

    /// Grad-CAM of the page's first image for `class`.
    fn attention(&self, class: usize) -> Vec<f64> {
        let folder = self.0.path().join("runs/demo-a");
        let run = Run::load(&folder).expect("a run");
        let plan = run.network.plan().expect("a plan");
        let best = checkpoint::load(&checkpoint::best_path(&folder), &plan, None).expect("a checkpoint");
        let pack = Pack::open(&self.0.path().join("data/demo"), "val").expect("a pack");
        let settings =
            Settings { normalisation: run.training.normalisation, precise: true, ..Settings::inference(1, 2) };
        let mut engine = CpuEngine::new(plan.clone(), settings, &best.state).expect("an engine");
        engine.attach(Source::Validation, pack.images.clone()).expect("images");
        let pick = [Pick::of(inside::choose(&pack)[0] as u32)];
        let features = engine.features(Batch::Picks(Source::Validation, &pick)).expect("features");
        Head::new(&plan, &best.state.tensors).expect("a head").map(&features, class)
    }

    /// Class and probability of the five likeliest classes.
    fn predicted(&self, image: &Path) -> Vec<(u64, f64)> {
        let image = image.to_str().expect("a path in UTF-8");
        let line =
            self.run(&["predict", "demo-a", "--data", "data/demo", "--engine", "cpu", "--json", "--image", image]);
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        let guesses = answer["top"].as_array().expect("guesses").iter();
        let guess = |g: &Value| (g["class"].as_u64().expect("a class"), g["probability"].as_f64().expect("a number"));
        guesses.map(guess).collect()
    }
}

/// Waits until an expression gives a text.
fn text(page: &Page<'_>, expression: &str) -> String {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(text) = page.eval(expression).as_str().filter(|text| !text.is_empty()) {
            return text.to_owned();
        }
        assert!(Instant::now() < end, "{}", page.eval("document.body.innerText"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the network runs, once that is known and the page's first image has its answer.
fn state(page: &Page<'_>) -> String {
    text(page, "document.getElementById('result').hidden ? '' : document.body.dataset.state")
}

/// Hands a file to the page as a person does who chooses it, and waits until the status begins with `told` or its name.
fn choose(page: &Page<'_>, file: &Path, told: &str) -> Vec<f64> {
    let root = page.call("DOM.getDocument", json!({}))["root"]["nodeId"].clone();
    let found = page.call("DOM.querySelector", json!({ "nodeId": root, "selector": "#file" }));
    page.call("DOM.setFileInputFiles", json!({ "nodeId": found["nodeId"], "files": [file] }));
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
    let begins = format!("[{}, {}]", json!(format!("{name}: ")), json!(told));
    let said = "document.getElementById('status').textContent";
    text(page, &format!("{begins}.some((start) => start && {said}.startsWith(start)) ? {said} : ''"));
    let logits = page.eval("Array.from(shown.logits.subarray(0, page.classes.length))");
    logits.as_array().expect("logits").iter().filter_map(Value::as_f64).collect()
}

/// An image that is no square, of a size that is not the network's: stripes and a gradient.
fn picture(folder: &Path, name: &str, width: u32, height: u32) -> PathBuf {
    let path = folder.join(name);
    let pixel = |x: u32, y: u32| image::Rgb([(x * 255 / width) as u8, (y * 7 % 256) as u8, ((x ^ y) * 3 % 256) as u8]);
    image::RgbImage::from_fn(width, height, pixel).save(&path).expect("written");
    path
}

/// The largest difference of the page's log probabilities from those of the program.
fn apart(logits: &[f64], predicted: &[(u64, f64)]) -> f64 {
    let largest = logits.iter().copied().fold(f64::MIN, f64::max);
    let sum = largest + logits.iter().map(|v| (v - largest).exp()).sum::<f64>().ln();
    let difference = |(class, probability): &(u64, f64)| (logits[*class as usize] - sum - probability.ln()).abs();
    predicted.iter().map(difference).fold(0.0, f64::max)
}

#[test]
fn a_browser_answers_as_the_program_does() {
    let (browser, axe) = (super::browser_with_webgpu(), chromium::axe());
    // Batch normalisation and its absence, A-LRN, 1x1 convolutions, every head, odd sizes, odd widths.
    let networks: [&[&str]; 4] = [
        &["-d", "11", "--width", "0.1", "--head", "average"],
        &["-d", "16", "-c11", "--width", "0.07", "--head", "linear", "-i", "37"],
        &["-d", "11", "--lrn", "--no-batch-norm", "--width", "0.05", "-i", "49"],
        &["-d", "13", "--width", "0.15"],
    ];
    for network in networks {
        let demo = Demo::new(network, "");
        let page = Page::open(&browser, &demo.page(), "", LAPTOP);
        assert_eq!(state(&page), "ready", "{network:?}");
        let own = page.eval("Number(document.body.dataset.apart)").as_f64().expect("compared");
        assert!(own <= 1e-4, "{network:?}: {own} from the logits in the page");
        for class in 0..5 {
            let map = page.eval(&format!("gradCam.map(shown.features, {class})"));
            let map: Vec<f64> = map.as_array().expect("a map").iter().filter_map(Value::as_f64).collect();
            let expected = demo.attention(class);
            assert_eq!(map.len(), expected.len(), "{network:?}");
            let largest = expected.iter().copied().fold(1e-9, f64::max);
            for (ours, theirs) in map.iter().zip(&expected) {
                assert!((ours - theirs).abs() <= 1e-4 * largest, "{network:?}, class {class}: {map:?} {expected:?}");
            }
        }
        for (width, height) in [(64, 64), (201, 90), (33, 50), (64, 200)] {
            let file = picture(demo.0.path(), &format!("{width}x{height}.png"), width, height);
            let logits = choose(&page, &file, "");
            let predicted = demo.predicted(&file);
            let difference = apart(&logits, &predicted);
            assert!(difference <= 1e-4, "{network:?}, {width}x{height}: {difference}");
            let first = page.eval("Number(document.querySelector('#classes button').dataset.place)");
            assert_eq!(first.as_u64(), Some(predicted[0].0), "{network:?}, {width}x{height}");
        }
        assert_eq!(page.complaints(), Vec::<String>::new(), "{network:?}");
        // What is no image is told, and the page goes on.
        let file = demo.0.path().join("notes.txt");
        fs::write(&file, "no image").expect("written");
        choose(&page, &file, "notes.txt is no image");
        page.eval("document.querySelector('#samples button:last-child').click()");
        text(&page, "document.getElementById('asked').textContent.startsWith('Image 5') ? 'there' : ''");
        for view in View::all() {
            page.look(view);
            assert_eq!(violations(&page, &axe), Vec::<String>::new(), "{network:?}, {}", view.name());
            page.screenshot(&format!("live-{}-{}", network[1], view.name()));
        }
    }
}

#[test]
fn without_webgpu_the_page_is_whole() {
    let demo = Demo::new(&["-d", "11", "--width", "0.1", "--head", "average"], "f16");
    let (browser, axe) = (super::browser(), chromium::axe());
    let page = Page::open(&browser, &demo.page(), "", LAPTOP);
    assert_eq!(state(&page), "without");
    assert!(page.shows("without") && page.shows("result"), "a note, and what vggkit said of the first image");
    let file = picture(demo.0.path(), "a.png", 50, 50);
    choose(&page, &file, "Without WebGPU");
    for view in View::all() {
        page.look(view);
        let wide = page.eval("document.documentElement.scrollWidth > innerWidth");
        assert_eq!(wide, Value::Bool(false), "{}", view.name());
        assert_eq!(violations(&page, &axe), Vec::<String>::new(), "{}", view.name());
        page.screenshot(&format!("live-without-{}", view.name()));
    }
    let index = fs::read_to_string(demo.0.path().join("site/index.html")).expect("the report");
    assert!(index.contains("<a href=\"live.html\">"), "the report leads to it");
    // Chromium's own word on that.
    let complaints = page.complaints().into_iter().filter(|told| !told.contains("No available adapters."));
    assert_eq!(complaints.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_page_of_others_is_kept_and_what_lacks_is_said() {
    let demo = Demo::new(&["-d", "11", "--width", "0.05", "--head", "average"], "f16");
    fs::write(demo.page(), "<!doctype html><p>mine</p>").expect("written");
    let report = |arguments: &[&str]| {
        let mut command = Command::cargo_bin("vggkit").expect("the program");
        let line = [&["report", "--live"], arguments].concat();
        let output = command.current_dir(demo.0.path()).args(line).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = report(&["demo-a", "--data", "data/demo"]);
    assert!(code == Some(1) && told.contains("site/live.html") && told.contains("--force"), "{told}");
    assert_eq!(fs::read_to_string(demo.page()).expect("kept"), "<!doctype html><p>mine</p>");
    let (code, told) = report(&["demo-a", "--data", "data/demo", "--force"]);
    assert!(code == Some(0) && fs::read_to_string(demo.page()).expect("replaced").contains("VGG-11"), "{told}");
    let (code, told) = report(&["demo-a"]); // the data is elsewhere
    assert!(code == Some(0) && told.contains("no images to try"), "{told}");
    assert!(!fs::read_to_string(demo.page()).expect("a page").contains("id=\"samples\""), "it has no images");
    let index = demo.0.path().join("site/index.html");
    fs::write(&index, "mine").expect("written");
    let before = fs::read(demo.page()).expect("a page");
    let (code, told) = report(&["demo-a", "--data", "data/demo", "--live-weights", "f16"]);
    assert!(code == Some(1) && told.contains("site/index.html"), "{told}");
    assert_eq!(fs::read(demo.page()).expect("a page"), before, "nothing changes where the report cannot be written");
    fs::remove_file(index).expect("removed");
    let (code, told) = report(&["nothing"]);
    assert!(code == Some(2) && told.contains("there is no run nothing"), "{told}");
    fs::remove_file(checkpoint::best_path(&demo.0.path().join("runs/demo-a"))).expect("removed");
    let (code, told) = report(&["demo-a"]);
    assert!(code == Some(1) && told.contains("best.safetensors") && told.contains("--resume"), "{told}");
}

#[test]
#[ignore = "looks at a page that is there: `make live`"]
#[expect(clippy::print_stderr, reason = "says what it was told")]
fn the_page_at_hand() {
    let file = std::env::var_os("VGGKIT_LIVE").expect("VGGKIT_LIVE, the path of a live.html");
    let browser = super::browser_with_webgpu();
    let page = Page::open(&browser, Path::new(&file), "", LAPTOP);
    assert_eq!(state(&page), "ready");
    let samples = page.eval("page.samples.length").as_u64().expect("a number");
    let mut farthest = 0.0_f64;
    for sample in 1..=samples {
        page.eval(&format!("document.querySelectorAll('#samples button')[{}].click()", sample - 1));
        let asked =
            format!("document.getElementById('asked').textContent.startsWith('Image {sample},') ? 'there' : ''");
        text(&page, &asked);
        farthest = farthest.max(page.eval("Number(document.body.dataset.apart)").as_f64().expect("compared"));
        eprintln!("{}\n", page.eval("document.getElementById('result').innerText").as_str().unwrap_or_default());
    }
    page.screenshot("live-at-hand");
    eprintln!("{samples} images asked; at most {farthest:.1e} from the logits that vggkit computed");
    assert_eq!(page.complaints(), Vec::<String>::new());
}
