//! The state of a network on its way from the device: copied behind the steps so far and ahead of later ones, which need
//! not wait until it has arrived.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::layers::loss_scaling;
use super::layout;
use super::network::GpuNetwork;
use super::plumbing::device::{Gpu, Slice};
use super::plumbing::readback::{Readback, Staging};
use crate::engine::layout::Place;
use crate::engine::{LossScaling, Snapshot, State};
use crate::error::Result;

/// The host's memory for one snapshot, kept from one to the next: it takes long to be had.
#[derive(Clone, Default)]
pub struct Home(Arc<Mutex<Option<Staging>>>);

impl Home {
    fn take(&self) -> Option<Staging> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, staging: Staging) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(staging);
    }
}

/// See the module.
pub struct Underway {
    gpu: Arc<Gpu>,
    home: Home,
    readback: Readback,
    places: Vec<Place>,
    averaged: bool,
    scaled: bool,
    step: u64,
    variants: BTreeMap<String, String>,
    /// Of a training that is not in f16 itself.
    loss_scaling: Option<LossScaling>,
}

/// Begins to copy what `network` holds after `step` steps.
pub fn begin(
    gpu: &Arc<Gpu>,
    network: &GpuNetwork,
    home: &Home,
    step: u64,
    loss_scaling: Option<LossScaling>,
) -> Result<Underway> {
    let slices: Vec<Slice> = network.state(step == 0).into_iter().cloned().collect();
    let staging = match home.take().filter(|staging| staging.holds(&slices)) {
        Some(staging) => staging,
        None => Staging::new(gpu, &slices)?,
    };
    let submission = gpu.submit([], 0, &staging.copies(&slices));
    gpu.check()?;
    Ok(Underway {
        gpu: Arc::clone(gpu),
        home: home.clone(),
        readback: staging.submitted(&slices, submission),
        places: network.places().to_vec(),
        averaged: step > 0 && network.keeps_average(),
        scaled: network.scales_loss(),
        step,
        variants: network.variants().clone(),
        loss_scaling,
    })
}

impl Snapshot for Underway {
    fn state(self: Box<Self>) -> Result<State> {
        let Self { gpu, home, readback, places, averaged, scaled, step, variants, mut loss_scaling } = *self;
        readback.wait_aside(&gpu)?;
        let part = |wanted: fn(&&Place) -> bool, index: usize| -> Result<Vec<Vec<f32>>> {
            let places: Vec<&Place> = places.iter().filter(wanted).collect();
            readback
                .look(&gpu, index, |all| places.par_iter().map(|p| layout::unpack(p, &all[p.range.clone()])).collect())
        };
        // One set of weights, whose parameters and running statistics are the ranges `first` and the one behind it.
        let set = |first: usize| -> Result<Vec<Vec<f32>>> {
            let (mut parameters, mut running) =
                (part(|p| p.parameter, first)?.into_iter(), part(|p| !p.parameter, first + 1)?.into_iter());
            let next = |place: &Place| if place.parameter { &mut parameters } else { &mut running }.next();
            Ok(places.iter().filter_map(next).collect())
        };
        let tensors = set(0)?;
        let averages = if averaged { set(2)? } else { Vec::new() };
        let mut first_moment = if averaged { 4 } else { 2 };
        if scaled {
            loss_scaling = Some(readback.look(&gpu, first_moment, loss_scaling::parse)?.0);
            first_moment += 1;
        }
        let moments =
            (first_moment..readback.ranges()).map(|index| part(|p| p.trained, index)).collect::<Result<_>>()?;
        home.put(readback.done());
        Ok(State { step, tensors, averages, moments, variants, loss_scaling })
    }
}
