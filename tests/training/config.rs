//! Settings from another run, from a file and from a recipe that comes with vggkit: what they mean, what gives way to them, and
//! what is refused.

use std::fs;
use std::path::Path;

use vggkit::files;
use vggkit::training::run::{Recipe, Run};
use vggkit::training::variations;

use crate::{fails, ok, on, resume, settings, step_of, train, vggkit};

/// The settings of a training with these flags, as `--print-config` has them.
fn printed(flags: &[&str]) -> String {
    let mut command = vggkit(&["train", "--print-config"]);
    command.args(flags);
    ok(command)
}

fn table(text: &str) -> toml::Table {
    toml::from_str(text).expect("TOML")
}

#[test]
fn a_recipe_is_shown_as_the_file_that_it_is_and_flags_go_on_top() {
    let folder = tempfile::tempdir().expect("a folder");
    for recipe in ["seed", "paper", "short", "cpu", "best"] {
        let text = printed(&["--recipe", recipe]);
        let file = folder.path().join(format!("{recipe}.toml"));
        fs::write(&file, &text).expect("written");
        let file = file.to_str().expect("text");
        assert_eq!(printed(&["--config", file]), text, "{recipe}");
        let flags = ["-e", "20", "--config", file, "-lr", "0.5", "--augment", "none"];
        let changed = table(&printed(&flags));
        let training = &changed["training"];
        assert_eq!(
            (training["epochs"].as_integer(), training["learning_rate"].as_float(), training["augment"].as_str()),
            (Some(20), Some(0.5), Some("none")),
            "{recipe}"
        );
    }
    assert_eq!(printed(&["--recipe", "seed"]), printed(&[]), "what is done without flags");
    let all = table(&printed(&["--recipe", "short", "--all", "-e", "3"]));
    assert!(!all["network"].as_table().expect("a table").contains_key("depth"));
}

#[test]
fn every_recipe_trains() {
    let runs = tempfile::tempdir().expect("a folder");
    for recipe in ["seed", "paper", "short", "cpu", "best"] {
        let name = format!("demo-{recipe}");
        let size = if recipe == "cpu" { "32:0,64:10" } else { "32" };
        let small = ["--engine", "cpu", "--width", "0.05", "-i", size, "-b", "8", "--max-steps", "2", "--run", &name];
        let mut command = vggkit(&["train", "--recipe", recipe]);
        command.args(small);
        ok(on(command, runs.path()));
        assert_eq!(step_of(&runs.path().join(&name)), 2);
    }
    let [seed, others @ ..] =
        ["seed", "paper", "short", "cpu", "best"].map(|r| settings(&runs.path().join(format!("demo-{r}"))));
    for (run, recipe) in others.iter().zip(["paper", "short", "cpu", "best"]) {
        let (_, beside) = variations::told_apart(&[&seed, run]).expect("words");
        assert_eq!(beside[1][0], format!("recipe {recipe}"), "{:?}", beside[1]);
    }
    let best = settings(&runs.path().join("demo-best"));
    assert_eq!((best.training.cutmix, best.training.hold_out, best.training.ema), (1.0, 0.05, 0.9999));
    // Dropout goes with the classic head, and gives way to another one.
    let short = runs.path().join("demo-short");
    for from in [["--recipe", "short"], ["--config", short.to_str().expect("text")]] {
        let linear = printed(&[&from[..], &["--head", "linear"]].concat());
        assert!(linear.contains("head = \"linear\"") && linear.contains("dropout = 0\n"), "{linear}");
    }
}

#[test]
fn a_recipe_with_a_figure_is_that_of_its_record() {
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("records");
    for (recipe, folder) in [
        ("seed", "2026-11-23-tiny-imagenet-cpu/vgg11"),
        ("short", "2026-11-27-tiny-imagenet-h100/vgg13"),
        ("cpu", "2026-11-28-tiny-imagenet-cpu/vgg11"),
    ] {
        let folder = records.join(folder);
        let depth = Run::load(&folder).expect("the record").network.depth.to_string();
        let of_record = printed(&["--config", folder.to_str().expect("text"), "--precision", "f32"]);
        assert_eq!(printed(&["--recipe", recipe, "-d", &depth]), of_record, "{recipe}");
    }
}

#[test]
fn the_settings_of_another_run_make_the_same_run() {
    let runs = tempfile::tempdir().expect("a folder");
    let flags = "--optimizer sgd --momentum 0.9 --weight-decay 5e-4 -lr 0.02 --schedule cosine --warmup 0.5 -e 2 -es 3 \
                 --label-smoothing 0.1 --dropout 0.3 --normalize dataset --seed 4 --shuffle off --limit-train 20";
    ok(train(runs.path(), "demo-a", &flags.split_whitespace().collect::<Vec<_>>()));
    let (a, b) = (runs.path().join("demo-a"), runs.path().join("demo-b"));
    let again = |name: &str, more: &[&str]| {
        let mut command = vggkit(&["train", "--engine", "cpu", "--run", name, "--config"]);
        command.arg(&a).args(more);
        on(command, runs.path())
    };
    ok(again("demo-b", &[]));
    let (first, second) = (settings(&a), settings(&b));
    assert_eq!((&first.network, &first.training), (&second.network, &second.training));
    assert!(second.origin.command.contains("--config"));
    let bytes = |run: &Path| fs::read(run.join("best.safetensors")).expect("weights");
    assert!(bytes(&a) == bytes(&b), "and so the same bits");
    // A network is chosen as a whole, and another optimizer has other constants.
    ok(again("demo-c", &["-d", "13", "--optimizer", "adam", "--schedule", "constant", "--max-steps", "1"]));
    let other = settings(&runs.path().join("demo-c"));
    let expected = Recipe { seed: 4, limit_train: Some(20), max_steps: Some(1), ..first.training.clone() };
    assert_eq!((other.network.depth, other.network.width), (13, 0.05));
    assert_eq!(other.training.optimizer, Recipe::default().optimizer);
    assert_eq!((other.training.seed, other.training.limit_train), (expected.seed, expected.limit_train));
    assert_eq!(
        other.training.patience,
        Recipe::default().patience,
        "of the constant schedule, not of the file's cosine"
    );
}

/// What a file turns on is turned off by a flag on top of it, as what it sets is set otherwise; the rest of it stays.
#[test]
fn a_switch_that_a_file_turns_on_is_turned_off_on_top_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("on.toml");
    let optimizer = "[training.optimizer]\nname = \"sgd\"\nmomentum = 0.9\nnesterov = true";
    let on = "[network]\ndepth = 16\nconv1x1 = true\nbatch_norm = false\n[training]\nmicro_batch = 4\n\
              sync_batch_norm = true\ntrivial_augment = \"wide\"";
    fs::write(&file, format!("{on}\n{optimizer}")).expect("written");
    let file = file.to_str().expect("text");
    let with = |flags: &[&str]| table(&printed(&[&["--config", file], flags].concat()));
    let said = |table: &toml::Table| {
        let (network, training) = (&table["network"], &table["training"]);
        let optimizer = &training["optimizer"];
        let values = [&network["depth"], &network["conv1x1"], &network["batch_norm"], &training["sync_batch_norm"]];
        let others = [&training["trivial_augment"], &optimizer["name"], &optimizer["nesterov"]];
        values.into_iter().chain(others).map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let file_says = said(&with(&[]));
    assert_eq!(file_says, r#"16 true false true "wide" "sgd" true"#);
    for (flag, expected) in [
        ("--conv1x1=off", r#"16 false false true "wide" "sgd" true"#),
        ("--no-batch-norm=off", r#"16 true true true "wide" "sgd" true"#),
        ("--sync-batch-norm=off", r#"16 true false false "wide" "sgd" true"#),
        ("--trivial-augment=off", r#"16 true false true "off" "sgd" true"#),
        ("--nesterov=off", r#"16 true false true "wide" "sgd" false"#),
    ] {
        assert_eq!(said(&with(&[flag])), expected, "{flag}");
        let on = flag.replace("=off", "=on");
        let network = if flag == "--conv1x1=off" { &["-d", "16"][..] } else { &[] }; // which it names, in place of the file's
        assert_eq!(said(&with(&[&[flag, &on], network].concat())), file_says, "the last counts: {flag} {on}");
    }
    // Configuration A-LRN is another network.
    let text = "[network]\ndepth = 11\nlrn = true";
    fs::write(folder.path().join("lrn.toml"), text).expect("written");
    let lrn = folder.path().join("lrn.toml");
    let off = table(&printed(&["--config", lrn.to_str().expect("text"), "--lrn=off"]));
    assert_eq!((off["network"]["depth"].as_integer(), off["network"]["lrn"].as_bool()), (Some(11), Some(false)));
}

/// A run of a version that drew ten operations goes on with them, and so does one that takes its settings from it.
#[test]
fn trivial_augment_is_as_wide_as_the_run_says() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-wide", &["--trivial-augment", "-e", "1"]));
    ok(train(runs.path(), "demo-ten", &["--trivial-augment=ten", "-e", "1"]));
    ok(train(runs.path(), "demo-old", &["--trivial-augment=ten", "-e", "1", "--max-steps", "2"]));
    let run = |name: &str| runs.path().join(name);
    let file = Run::path(&run("demo-old"));
    let text = files::read_to_string(&file).expect("run.toml");
    assert!(text.contains("trivial_augment = \"ten\""), "{text}");
    fs::write(&file, text.replace("trivial_augment = \"ten\"", "trivial_augment = true")).expect("written");
    let of_old = printed(&["--config", file.to_str().expect("text")]);
    assert!(of_old.contains("trivial_augment = \"ten\""), "{of_old}");
    let error = fails(resume(runs.path(), "demo-old", &["--trivial-augment"]), 2);
    assert!(error.contains("--trivial-augment wide, where the run has ten"), "{error}");
    ok(resume(runs.path(), "demo-old", &["-e", "1"]));
    let bytes = |name: &str| fs::read(run(name).join("best.safetensors")).expect("weights");
    assert!(bytes("demo-old") == bytes("demo-ten"), "what it would have drawn");
    assert!(bytes("demo-wide") != bytes("demo-ten"));
}

#[test]
fn what_a_run_began_from_and_paused_at_stays_its_own() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["--max-steps", "2"]));
    let weights = runs.path().join("demo-a/last.safetensors");
    ok(train(runs.path(), "demo-b", &["--max-steps", "2", "--init", weights.to_str().expect("text")]));
    let mut command = vggkit(&["train", "--print-config", "--config"]);
    command.arg(runs.path().join("demo-b/run.toml"));
    let output = command.output().expect("runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("--init") && told.contains("--max-steps"), "{told}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("init") && !text.contains("max_steps"), "{text}");
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_key_and_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.toml");
    let refused = |text: &str, code: i32, more: &[&str]| {
        fs::write(&file, text).expect("written");
        let mut command = vggkit(&["train", "--data", "nowhere", "--config"]);
        command.arg(&file).args(more);
        fails(command, code)
    };
    for (text, parts) in [
        ("[training]\nlearning_rat = 0.1", ["training.learning_rat ", "training.learning_rate"]),
        ("learning_rate = 0.1", ["learning_rate is no setting", "training.learning_rate"]),
        ("[training]\noptimizer = \"sgd\"", ["training.optimizer ", "training.optimizer.name"]),
        ("[optimiser]\n", ["optimiser ", "optimizer"]),
        ("[training]\nbatch_size = \"many\"", ["training.batch_size", "no number"]),
        ("[training]\nbatch_size = \"64\"", ["training.batch_size", "no number"]),
        ("[training]\nbatch_size = 0", ["training.batch_size", "the nearest is 1"]),
        ("[training]\nepochs = 2.5", ["training.epochs", "the nearest is 3"]),
        ("[training]\nschedule = \"cosin\"", ["training.schedule", "'cosine'"]),
        ("[training]\nschedule = 3", ["training.schedule", "'3'"]),
        ("[network]\nconv1x1 = \"yes\"", ["network.conv1x1", "neither true nor false"]),
        ("[training]\nnormalisation = {mean = 1}", ["training.normalisation", "--normalize"]),
        ("[training.optimizer]\nname = \"adam\"\nbeta1 = 0.8", ["training.optimizer.beta1", "0.9"]),
        ("schema = \"vggkit/manifest/1\"", ["vggkit/manifest/1", "vggkit/run/1"]),
        ("[training", ["mine.toml", "TOML"]),
    ] {
        let error = refused(text, 1, &[]);
        assert!(parts.iter().all(|part| error.contains(part)) && error.contains("mine.toml"), "{text}: {error}");
    }
    let error = refused("[training]\nwarmup = 9.0", 2, &["-e", "3"]);
    assert!(error.contains("--warmup 9") && error.contains("at most 3"), "{error}");
    let gone = folder.path().join("gone.toml");
    let error = fails(vggkit(&["train", "--config", gone.to_str().expect("text")]), 1);
    assert!(error.contains("gone.toml") && error.contains("--config takes"), "{error}");
    let error = fails(vggkit(&["train", "--recipe", "shor"]), 2);
    assert!(error.contains("'short'"), "{error}");
}

#[test]
fn a_training_that_goes_on_takes_no_settings_from_elsewhere() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(train(runs.path(), "demo-a", &["--max-steps", "1"]));
    let before = files::read_to_string(&Run::path(&runs.path().join("demo-a"))).expect("run.toml");
    for elsewhere in [["--recipe", "short"], ["--config", "mine.toml"]] {
        let error = fails(resume(runs.path(), "demo-a", &elsewhere), 2);
        assert!(error.contains(elsewhere[0]) && error.contains("--resume goes on"), "{error}");
    }
    assert_eq!(files::read_to_string(&Run::path(&runs.path().join("demo-a"))).expect("run.toml"), before);
}

#[test]
fn a_cosine_is_not_stopped_early_unless_that_is_asked_for() {
    let patience = |flags: &[&str]| table(&printed(flags))["training"]["patience"].as_integer();
    assert_eq!(patience(&[]), Some(6));
    assert_eq!(patience(&["--schedule", "plateau"]), Some(6));
    assert_eq!(patience(&["--schedule", "cosine"]), Some(0));
    assert_eq!(patience(&["--schedule", "cosine", "-es", "6"]), Some(6));
    let runs = tempfile::tempdir().expect("a folder");
    let flags = "train --engine cpu --run demo-a --width 0.05 -i 32 -b 8 --schedule cosine -e 1";
    let command = vggkit(&flags.split_whitespace().collect::<Vec<_>>());
    let output = on(command, runs.path()).output().expect("runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("no early stopping") && told.contains("-es N"), "{told}");
    // What goes over to a cosine keeps the patience that it has, and that is said.
    ok(train(runs.path(), "demo-b", &["-e", "1"]));
    let flags = ["train", "--engine", "cpu", "--resume", "demo-b", "-e", "2", "--schedule", "cosine", "--runs"];
    let output = vggkit(&flags).arg(runs.path()).output().expect("runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("early stopping stays on with patience 6"), "{told}");
}
