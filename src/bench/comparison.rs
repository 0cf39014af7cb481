//! A result beside an earlier one, read from a file. Judges nothing: what was otherwise then is said, not refused,
//! because a driver, a number of threads or another engine may be just what is to be compared.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::operation::Operation;
use super::result::{Benchmark, Comparison, Measured, SCHEMA};
use crate::error::{Error, Result};
use crate::files;

/// The result in `path`. Errors: no such file, no result.
pub fn read(path: &Path) -> Result<Benchmark> {
    read_as(path, SCHEMA, "`vggkit bench --json > FILE` writes a result")
}

/// What `path` has of `schema`, which a command writes that `help` names. Errors: no such file, nothing of that schema.
pub fn read_as<T: DeserializeOwned>(path: &Path, schema: &str, help: &str) -> Result<T> {
    let read: serde_json::Value = files::read_json(path).map_err(|e| e.with_help(help))?;
    if read["schema"] != schema {
        return Err(Error::data(path, format!("is not a result of the schema {schema}")).with_help(help));
    }
    serde_json::from_value(read).map_err(|e| Error::data(path, "is not a whole result").with_source(e))
}

/// The result in `path`. Errors, beside those of [`read`]: one of another mode or batch size than `now`.
pub fn earlier(path: &Path, now: &Benchmark) -> Result<Benchmark> {
    let earlier = read(path)?;
    if (earlier.mode, earlier.batch_size) != (now.mode, now.batch_size) {
        let (mode, batch_size) = (earlier.mode, earlier.batch_size);
        return Err(Error::usage(format!("{} is of another measurement", path.display()))
            .with_help(format!("it was made with --mode {mode:?} --batch-size {batch_size}").to_lowercase()));
    }
    Ok(earlier)
}

impl Comparison {
    /// `measured`, one of `now`'s, beside the same network of `earlier`; None where that has none.
    pub fn new(earlier: &Benchmark, now: &Benchmark, measured: &Measured) -> Option<Self> {
        let then = earlier.networks.iter().find(|n| n.network == measured.network)?;
        let times = |o: &Operation| {
            let then = then.operations.iter().find(|e| e.name == o.name)?;
            let ratio = o.seconds / then.seconds.max(1e-12);
            (ratio > 1.1).then(|| (o.name.clone(), ratio))
        };
        let mut slower: Vec<(String, f64)> = measured.operations.iter().filter_map(times).collect();
        slower.sort_by(|a, b| b.1.total_cmp(&a.1));
        let conditions = |of: &Benchmark, network: &Measured| {
            let device = &of.device;
            [
                format!("engine {}", device.engine),
                device.adapter.clone(),
                device.driver.clone(),
                format!("threads {}", device.threads),
                format!("precision {}", of.precision.name()),
                if of.precise { "--precise".into() } else { "not --precise".into() },
                format!("{} images at once", network.micro_batch),
            ]
        };
        let pairs = conditions(earlier, then).into_iter().zip(conditions(now, measured));
        let otherwise = pairs.filter(|(then, now)| then != now).map(|(then, _)| then).collect();
        let images_per_s = then.images_per_s;
        Some(Self { images_per_s, ratio: measured.images_per_s / images_per_s, slower, otherwise })
    }
}
