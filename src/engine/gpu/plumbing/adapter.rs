//! Finds the adapters that wgpu offers and chooses one. Says what is missing and what to install; opens no device.

use wgpu::{Adapter, AdapterInfo, Backend, DeviceType, Features, Limits};

use super::capabilities::Capabilities;
use crate::engine::Device;
use crate::error::{Error, Kind, Result};

/// An adapter and what it can do.
#[derive(Clone, Debug)]
pub struct Found {
    /// wgpu's handle.
    pub adapter: Adapter,
    /// Name, driver, type.
    pub info: AdapterInfo,
    /// All features.
    pub features: Features,
    /// The highest limits.
    pub limits: Limits,
}

impl Found {
    /// Whether it computes on the processor.
    pub fn software(&self) -> bool {
        self.info.device_type == DeviceType::Cpu
    }

    /// What planning needs to know of it, for f32.
    pub fn capabilities(&self) -> Capabilities {
        let binding = self.limits.max_storage_buffer_binding_size.min(self.limits.max_buffer_size) / 4;
        Capabilities {
            software: self.software(),
            subgroups_of_eight: self.features.contains(Features::SUBGROUP) && self.info.subgroup_min_size >= 8,
            binding_floats: usize::try_from(binding).unwrap_or(usize::MAX),
            workgroup_bytes: self.limits.max_compute_workgroup_storage_size as usize,
            matrices: None,
        }
    }

    /// Limits that every vggkit kernel needs, as (name, needed, there) where they are not met.
    pub fn shortcomings(&self) -> Vec<(&'static str, u64, u64)> {
        let Limits {
            max_storage_buffers_per_shader_stage,
            max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup,
            max_compute_workgroup_size_x,
            max_storage_buffer_binding_size,
            max_bind_groups,
            ..
        } = self.limits;
        [
            ("storage buffers a shader", 8, u64::from(max_storage_buffers_per_shader_stage)),
            ("bytes of workgroup memory", 16 << 10, u64::from(max_compute_workgroup_storage_size)),
            ("invocations a workgroup", 256, u64::from(max_compute_invocations_per_workgroup)),
            ("invocations of a workgroup in x", 256, u64::from(max_compute_workgroup_size_x)),
            ("bytes of a storage binding", 128 << 20, max_storage_buffer_binding_size),
            ("bind groups", 1, u64::from(max_bind_groups)),
        ]
        .into_iter()
        .filter(|(_, needed, there)| there < needed)
        .collect()
    }

    /// The driver with its version.
    pub fn driver(&self) -> String {
        format!("{} {}", self.info.driver, self.info.driver_info).trim().to_owned()
    }

    /// All of it that records have.
    pub fn device(&self) -> Device {
        Device { engine: "gpu".into(), adapter: self.info.name.clone(), driver: self.driver(), threads: 0 }
    }

    /// Its place on its machine's bus, which no other card has and all drivers agree on; none for what computes on the processor,
    /// or where the driver does not say.
    pub fn card(&self) -> Option<&str> {
        Some(self.info.device_pci_bus_id.as_str()).filter(|place| !place.is_empty() && !self.software())
    }
}

/// wgpu's entry point. Memory is refused before a device would be lost for the lack of it.
fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    descriptor.memory_budget_thresholds =
        wgpu::MemoryBudgetThresholds { for_resource_creation: Some(97), for_device_loss: None };
    wgpu::Instance::new(descriptor)
}

/// An adapter that is not there and computes nothing, with these features and limits: what is recorded on it is what one
/// that is like it would be given. Subgroups have `lanes` lanes; `kind` decides whether it counts as hardware.
/// Errors: wgpu has no such adapter.
pub fn imagined(features: Features, limits: Limits, lanes: u32, kind: DeviceType) -> Result<Found> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop = wgpu::NoopBackendOptions {
        enable: true,
        features: Some(features),
        limits: Some(limits),
        device_type: Some(kind),
        subgroup_min_size: Some(lanes),
        subgroup_max_size: Some(lanes),
    };
    let adapters = pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(wgpu::Backends::all()));
    let missing = || Error::new(Kind::Engine, "no adapter to record on");
    adapters.into_iter().next().map(found).ok_or_else(missing)
}

fn found(adapter: Adapter) -> Found {
    Found { info: adapter.get_info(), features: adapter.features(), limits: adapter.limits(), adapter }
}

/// All adapters, hardware first, discrete cards before integrated ones; their positions are the indices that
/// `--adapter` takes. Errors: none, with what is missing.
pub fn list() -> Result<Vec<Found>> {
    let adapters = pollster::block_on(instance().enumerate_adapters(wgpu::Backends::all()));
    let mut found: Vec<Found> = adapters.into_iter().map(found).collect();
    found.sort_by_key(|f| match f.info.device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

/// Why there is no adapter at all.
fn none() -> Error {
    let loader = if cfg!(target_os = "linux") { "libvulkan.so.1" } else { "" };
    // SAFETY: loading the Vulkan loader runs no code but its own initialisation, as wgpu's attempt just did.
    if !loader.is_empty() && unsafe { libloading::Library::new(loader) }.is_err() {
        return Error::new(Kind::Engine, "no Vulkan loader: libvulkan.so.1 is not installed").with_help(
            "on Debian or Ubuntu `apt install libvulkan1` and your card's driver, or train with --engine cpu",
        );
    }
    Error::new(Kind::Engine, "no GPU: the Vulkan loader finds no driver").with_help(
        "install your card's driver (NVIDIA's, or mesa-vulkan-drivers for AMD and Intel; the latter also brings llvmpipe, \
         a slow one for any processor), check with `vulkaninfo --summary`, or train with --engine cpu",
    )
}

/// Names of `found` with their indices, for messages.
fn names(found: &[Found]) -> String {
    let name = |(i, f): (usize, &Found)| format!("{i}: {}", f.info.name);
    found.iter().enumerate().map(name).collect::<Vec<_>>().join("; ")
}

/// Whether one of them computes on hardware and has what every kernel needs: what `--engine auto` asks.
pub fn any_hardware(found: &[Found]) -> bool {
    found.iter().any(|f| !f.software() && f.shortcomings().is_empty())
}

/// The adapter whose index or part of whose name is `wanted`; without, the first that is hardware and able, or, where there are
/// several cards of its kind, the one whose `turn` it is, counted round.
/// Errors: no such adapter, only software ones, one that lacks what every kernel needs.
pub fn choose(wanted: Option<&str>, turn: usize) -> Result<Found> {
    let found = list()?;
    let first = position(&found, wanted)?;
    let alike = match wanted {
        Some(_) => vec![first],
        None => alike(&found, first),
    };
    let chosen = alike[turn % alike.len()];
    found.into_iter().nth(chosen).ok_or_else(none)
}

/// The adapters of the kind of `found[first]` that are as able, that one first; of a card that several drivers offer, one.
fn alike(found: &[Found], first: usize) -> Vec<usize> {
    let mut alike = vec![first];
    for (index, other) in found.iter().enumerate().skip(first + 1) {
        let same_card = |index: &usize| found[*index].card().is_some_and(|card| other.card() == Some(card));
        let kind = other.info.device_type == found[first].info.device_type;
        if kind && other.shortcomings().is_empty() && !alike.iter().any(same_card) {
            alike.push(index);
        }
    }
    alike
}

/// Where in `found` [`choose`] finds it.
pub fn position(found: &[Found], wanted: Option<&str>) -> Result<usize> {
    let position = match wanted {
        Some(wanted) => {
            let lower = wanted.to_lowercase();
            let position = match wanted.parse::<usize>() {
                Ok(index) => (index < found.len()).then_some(index),
                Err(_) => found.iter().position(|f| f.info.name.to_lowercase().contains(&lower)),
            };
            position.ok_or_else(|| {
                Error::usage(format!("no adapter \"{wanted}\"; there are {}", names(found)))
                    .with_help("`vggkit devices` shows them; --adapter takes a part of the name or the index")
            })?
        }
        None => {
            let hardware = |f: &Found| !f.software();
            let able = found.iter().position(|f| hardware(f) && f.shortcomings().is_empty());
            able.or_else(|| found.iter().position(hardware)).ok_or_else(|| {
                Error::new(Kind::Engine, format!("no hardware GPU, only software: {}", names(found))).with_help(
                    "install your card's driver; or train with --engine cpu, which is much faster than a software \
                     adapter; to use that all the same, name it, e.g. --adapter llvmpipe",
                )
            })?
        }
    };
    let chosen = &found[position];
    if let Some((what, needed, there)) = chosen.shortcomings().first() {
        let message = format!("{} cannot be used: {there} {what}, at least {needed} are needed", chosen.info.name);
        return Err(Error::new(Kind::Engine, message)
            .with_help("choose another adapter (`vggkit devices` shows them) or train with --engine cpu"));
    }
    Ok(position)
}

/// How wgpu reaches it.
pub fn backend(info: &AdapterInfo) -> &'static str {
    match info.backend {
        Backend::Vulkan => "Vulkan",
        Backend::Metal => "Metal",
        Backend::Dx12 => "DirectX 12",
        Backend::Gl => "OpenGL",
        Backend::BrowserWebGpu => "WebGPU",
        Backend::Noop => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_known_by_its_place_and_a_software_adapter_is_none() {
        let card = |kind, place: &str| {
            let mut found = imagined(Features::empty(), Limits::default(), 4, kind).expect("an adapter");
            (found.info.device_type, found.info.device_pci_bus_id) = (kind, place.into());
            found.card().map(str::to_owned)
        };
        assert_eq!(card(DeviceType::DiscreteGpu, "0000:41:00.0").as_deref(), Some("0000:41:00.0"));
        assert_eq!(card(DeviceType::DiscreteGpu, ""), None, "a driver that does not say");
        assert_eq!(card(DeviceType::Cpu, "0000:41:00.0"), None);
    }
}
