//! `vggkit bench --ranks` starts ranks by itself, and what it tells of them fits together.

use std::process::Command;

use serde_json::Value;

fn bench(flags: &[&str]) -> std::process::Output {
    let small = "bench --engine cpu -d 11 --width 0.25 -i 32 -b 4 --seconds 1 --threads 1";
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    command.args(small.split(' ')).args(flags);
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.output().expect("it runs")
}

#[test]
fn ranks_are_measured_side_by_side() {
    let output = bench(&["--ranks", "1,2,4", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let ranks = result["ranks"].as_array().expect("an array");
    let plan = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"))
        .args(["describe", "--json", "-d", "11", "--width", "0.25", "-i", "32"])
        .output()
        .expect("it runs");
    let plan: Value = serde_json::from_slice(&plan.stdout).expect("one JSON object");
    let gradients = 4.0 * plan["totals"]["parameters"].as_f64().expect("a number");
    for (measured, count) in ranks.iter().zip([1.0, 2.0, 4.0]) {
        let number = |key: &str| measured[key].as_f64().expect(key);
        assert_eq!(number("ranks"), count);
        assert!((number("images_per_s") * number("step_seconds") - 4.0 * count).abs() < 1e-6, "{measured}");
        // Each rank has one micro-batch: (N - 1) / N of the gradients twice, and a little for metrics.
        let expected = 2.0 * (count - 1.0) / count * gradients;
        let sent = number("bytes_per_step");
        assert!(sent >= 0.99 * expected && sent <= 1.02 * expected + 1000.0 * (count - 1.0), "{sent}, {expected}");
        assert!(number("waited_seconds") <= number("communication_seconds") + 1e-9, "{measured}");
        assert!((0.0..=1.0).contains(&number("overlap")), "{measured}");
        // What the link carries while nothing is computed; there is none of one rank.
        let link = &measured["link"];
        assert_eq!(link.is_null(), count == 1.0, "{measured}");
        let above_0 = |key: &str| link[key].as_f64().is_some_and(|number| number > 0.0);
        assert!(count == 1.0 || above_0("bytes_per_second") && above_0("latency"), "{measured}");
    }
    assert_eq!(ranks.len(), 3);
}

#[test]
fn ranks_that_cannot_be_started_say_so_and_what_there_is_is_printed() {
    let output = bench(&["--ranks", "1,2", "--json", "--mpirun", "mpirun --no-such-flag"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("2 ranks were not measured: mpirun ended with"), "{error}");
    let result: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert!(result["partial"].is_string() && result["ranks"].as_array().is_some_and(|ranks| ranks.len() == 1));
}
