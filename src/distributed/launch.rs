//! Whether a launcher (`mpirun`, `srun`) started this process as one of several, and how it joins them.
//!
//! A program without the feature `mpi` that is started as one of several is refused: each would train the whole of the same run.

use std::sync::Arc;
use std::time::Duration;

use super::link::Link;
#[cfg(feature = "mpi")]
use super::mpi::Mpi;
use crate::error::{Error, Kind, Result};

/// Where launchers say how many processes they started: Open MPI and others with PMIx, MPICH and Intel, MVAPICH, srun for a
/// step (`SLURM_NTASKS` stands in a batch script too, which is one process).
const SIZES: [&str; 4] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"];

/// The variable that says how many seconds a rank may give no sign of life, and how many where it says nothing.
const PATIENCE: (&str, u64) = ("VGGKIT_PATIENCE", 60);

/// How many processes a launcher says that it started, and the variable that says so; none where it is one, or no launcher.
/// `variable` looks one up in the environment.
pub fn launched(variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, usize)> {
    let sizes = SIZES.iter().filter_map(|name| Some((*name, variable(name)?.trim().parse().ok()?)));
    sizes.into_iter().find(|(_, size)| *size > 1)
}

/// Where launchers say which of the processes on this machine this one is, from 0.
const LOCAL_RANKS: [&str; 4] =
    ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"];

/// Where they say how many there are on this machine; srun says it of each machine of a step, and which of these this one is.
const LOCAL_SIZES: [&str; 3] = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE"];
const SLURM_SIZES: (&str, &str) = ("SLURM_STEP_TASKS_PER_NODE", "SLURM_NODEID");

/// Which of the processes that a launcher started on this machine this one is: 0 for one alone. `variable` looks one up in the
/// environment.
pub fn local_rank(variable: impl Fn(&str) -> Option<String>) -> usize {
    if launched(&variable).is_none() {
        return 0;
    }
    LOCAL_RANKS.iter().find_map(|name| variable(name)?.trim().parse().ok()).unwrap_or(0)
}

/// How many processes a launcher started on this machine: 1 for one alone, or where nothing says it. `variable` looks one up in the
/// environment.
pub fn local_ranks(variable: impl Fn(&str) -> Option<String>) -> usize {
    if launched(&variable).is_none() {
        return 1;
    }
    let said = LOCAL_SIZES.iter().find_map(|name| variable(name)?.trim().parse().ok());
    let of_step = || tasks_of_node(&variable(SLURM_SIZES.0)?, variable(SLURM_SIZES.1)?.trim().parse().ok()?);
    said.or_else(of_step).unwrap_or(1).max(1)
}

/// What `tasks`, such as "2(x3),1" for three machines with 2 processes each and one with 1, says of machine `node`, from 0.
fn tasks_of_node(tasks: &str, node: usize) -> Option<usize> {
    let mut nodes = 0usize;
    for part in tasks.trim().split(',') {
        let (tasks, times) = match part.split_once("(x") {
            Some((tasks, times)) => (tasks, times.strip_suffix(')')?.parse().ok()?),
            None => (part, 1),
        };
        nodes = nodes.saturating_add(times);
        if node < nodes {
            return tasks.parse().ok();
        }
    }
    None
}

/// The link to the ranks that were started together with this process; none where it was started alone. Errors: it was not, and
/// the program is built without MPI, or with another MPI than that of its launcher.
pub fn join() -> Result<Option<Arc<dyn Link>>> {
    let Some((variable, size)) = launched(|name| std::env::var(name).ok()) else { return Ok(None) };
    let link = link(variable, size)?;
    if link.ranks() == size {
        return Ok(Some(link));
    }
    let (ranks, others) = (link.ranks(), "was this program built with another MPI than that of its launcher?");
    let what = format!("{size} processes were started ({variable}), and MPI knows of {ranks} of them: {others}");
    Err(Error::new(Kind::Engine, what).with_help("start it with the mpirun of the MPI that it was built with"))
}

/// How long a rank may give no sign of life before the others end: a minute, or as `VGGKIT_PATIENCE` says. Errors: it says no
/// number of seconds.
pub fn patience() -> Result<Duration> {
    patience_of(std::env::var(PATIENCE.0).ok().as_deref())
}

fn patience_of(said: Option<&str>) -> Result<Duration> {
    let (name, usual) = PATIENCE;
    let Some(said) = said.filter(|said| !said.is_empty()) else { return Ok(Duration::from_secs(usual)) };
    match said.trim().parse::<u64>() {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err(Error::usage(format!("{name}: no whole number of seconds from 1: {said}"))),
    }
}

/// The link by MPI.
#[cfg(feature = "mpi")]
fn link(_: &str, _: usize) -> Result<Arc<dyn Link>> {
    Ok(Arc::new(Mpi::join()?))
}

#[cfg(not(feature = "mpi"))]
fn link(variable: &str, size: usize) -> Result<Arc<dyn Link>> {
    let whose =
        format!("this is one of {size} processes that were started together ({variable}), each of which would do all");
    Err(not_built_in().of(whose))
}

/// Errors: more than one of `ranks`, and this program is built without MPI.
pub fn check_built_in(ranks: usize) -> Result<()> {
    if cfg!(feature = "mpi") || ranks < 2 { Ok(()) } else { Err(not_built_in()) }
}

fn not_built_in() -> Error {
    Error::usage("this vggkit is built without MPI, by which ranks reach each other")
        .with_help("build it with `cargo build --release --features mpi`; `make mpi` installs what that needs, too")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_says_how_many_it_started() {
        let with = |variables: &[(&str, &str)]| {
            let found = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            launched(found)
        };
        assert_eq!(with(&[]), None);
        let local = |name: &str| match name {
            "PMI_SIZE" => Some("4".to_owned()),
            "MPI_LOCALRANKID" => Some("3".to_owned()),
            _ => None,
        };
        assert_eq!((local_rank(local), local_rank(|_| None)), (3, 0));
        assert_eq!(with(&[("OMPI_COMM_WORLD_SIZE", "4"), ("PMI_SIZE", "2")]), Some(("OMPI_COMM_WORLD_SIZE", 4)));
        assert_eq!(with(&[("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")]), None, "a batch script");
        assert_eq!(with(&[("SLURM_NTASKS", "4"), ("SLURM_STEP_NUM_TASKS", "4")]), Some(("SLURM_STEP_NUM_TASKS", 4)));
        assert_eq!(with(&[("PMI_SIZE", "1"), ("MV2_COMM_WORLD_SIZE", "many")]), None);
    }

    #[test]
    fn a_launcher_says_how_many_are_on_this_machine() {
        let with = |variables: &'static [(&str, &str)]| {
            local_ranks(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(with(&[]), 1);
        assert_eq!(with(&[("OMPI_COMM_WORLD_SIZE", "8"), ("OMPI_COMM_WORLD_LOCAL_SIZE", "3")]), 3);
        assert_eq!(with(&[("OMPI_COMM_WORLD_SIZE", "1"), ("OMPI_COMM_WORLD_LOCAL_SIZE", "3")]), 1, "alone");
        assert_eq!(with(&[("PMI_SIZE", "8"), ("MPI_LOCALNRANKS", "0")]), 1);
        // srun for a step of 4 processes on 2 of a job's 3 machines, which has 6 for them.
        let step = &[
            ("SLURM_STEP_NUM_TASKS", "4"),
            ("SLURM_STEP_TASKS_PER_NODE", "3,1"),
            ("SLURM_TASKS_PER_NODE", "2(x3)"),
            ("SLURM_NODEID", "0"),
        ];
        assert_eq!(with(step), 3, "a step's own number, not its job's");
        // mpirun in a batch script, where srun started what starts the ranks, one a machine.
        let batch = &[
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
            ("SLURM_STEP_TASKS_PER_NODE", "1(x2)"),
            ("SLURM_NODEID", "1"),
        ];
        assert_eq!(with(batch), 2);
        assert_eq!(
            with(&[("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_TASKS_PER_NODE", "4")]),
            1,
            "older than these variables"
        );
    }

    #[test]
    fn srun_says_it_of_each_machine() {
        let of = |tasks| (0..5).map(|node| tasks_of_node(tasks, node)).collect::<Vec<_>>();
        assert_eq!(of("2(x3),1"), [Some(2), Some(2), Some(2), Some(1), None]);
        assert_eq!(of("5,4(x3)"), [Some(5), Some(4), Some(4), Some(4), None]);
        assert_eq!(of("16"), [Some(16), None, None, None, None]);
        for wrong in ["", "many", "2(x", "2(x3", "(x3)", "2(xmany)"] {
            assert_eq!(of(wrong), [None; 5], "{wrong}");
        }
        assert_eq!(tasks_of_node("1(x18446744073709551615),2", 9), Some(1));
    }

    #[test]
    fn patience_is_a_minute_or_what_is_said() {
        let seconds = |said| patience_of(said).map(|patience| patience.as_secs()).map_err(|error| error.to_string());
        assert_eq!([None, Some(""), Some(" 5 "), Some("86400")].map(seconds), [Ok(60), Ok(60), Ok(5), Ok(86400)]);
        for wrong in ["0", "-1", "1.5", "soon", "99999999999999999999"] {
            let error = seconds(Some(wrong)).expect_err(wrong);
            assert!(error.starts_with("VGGKIT_PATIENCE: ") && error.ends_with(wrong), "{error}");
        }
    }
}
