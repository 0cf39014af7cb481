//! One opened device: buffers, submissions, waiting and reading back, with an error for everything that can go wrong.
//!
//! wgpu panics on errors that nobody catches; here every call that can fail runs in error scopes, and what arrives
//! later (a lost device, an error of the queue) is kept and told by the next call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytemuck::Pod;
use wgpu::{BufferUsages, ErrorFilter, Features, Limits, PollType};

use super::adapter::Found;
use super::capabilities::{Capabilities, Matrices};
use super::source::Program;
use super::step::StepUniform;
use crate::engine::Precision;
use crate::engine::gpu::{Fault, Options};
use crate::error::{Error, Kind, Result};

/// A range of a buffer on the device. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Whose range it is.
    pub buffer: wgpu::Buffer,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Slice {
    /// `floats` four-byte numbers from `start`, which is a multiple of 64 (an alignment that every adapter accepts).
    pub fn part(&self, start: usize, floats: usize) -> Self {
        debug_assert!(start.is_multiple_of(64) && (start + floats) as u64 * 4 <= self.bytes);
        Self { buffer: self.buffer.clone(), offset: self.offset + start as u64 * 4, bytes: floats as u64 * 4 }
    }

    /// Four-byte numbers in it.
    pub fn floats(&self) -> usize {
        (self.bytes / 4) as usize
    }

    /// As a bind group takes it.
    pub fn binding(&self) -> wgpu::BindingResource<'_> {
        let size = std::num::NonZeroU64::new(self.bytes);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &self.buffer, offset: self.offset, size })
    }
}

/// What the device said when nobody was listening.
#[derive(Debug, Default)]
struct Mishaps {
    lost: Option<String>,
    error: Option<String>,
}

/// See the module.
pub struct Gpu {
    /// wgpu's device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// Which adapter it is.
    pub found: Found,
    /// Features in use.
    pub features: Features,
    /// What multiplies in f16, where that was asked for.
    pub matrices: Option<Matrices>,
    /// Limits in use.
    pub limits: Limits,
    /// The uniform that [`StepUniform`] is written to.
    pub step: wgpu::Buffer,
    /// Compiled pipelines, kept between runs where the driver can.
    pub pipelines: Option<wgpu::PipelineCache>,
    /// Programs built so far, by their whole source.
    pub(in crate::engine::gpu) programs: Mutex<HashMap<String, Arc<Program>>>,
    pub(in crate::engine::gpu) options: Options,
    pub(in crate::engine::gpu) shaders_built: AtomicUsize,
    pub(in crate::engine::gpu) submissions: AtomicU64,
    mishaps: Arc<Mutex<Mishaps>>,
    /// Held for reading by whoever looks at mapped memory; see `mapping`.
    pub(super) looking: RwLock<()>,
    allocated: AtomicU64,
    hanging: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens the adapter that `options` name. Errors: none such, or one that does not open.
    pub fn open(options: &Options) -> Result<Self> {
        Self::open_found(super::adapter::choose(options.adapter.as_deref(), options.turn)?, options)
    }

    /// Opens `found` with all its limits and those of its features that vggkit has a use for. Errors: it does not open, or
    /// cannot do the precision that was asked for.
    pub fn open_found(found: Found, options: &Options) -> Result<Self> {
        let matrices = match options.precision {
            Precision::F32 => None,
            Precision::F16 => Some(Matrices::of(&found)?),
        };
        let features = found.features
            & (Features::TIMESTAMP_QUERY
                | Features::PIPELINE_CACHE
                | Features::SUBGROUP
                | Features::SHADER_F16
                | if matrices == Some(Matrices::Cooperative) {
                    Features::EXPERIMENTAL_COOPERATIVE_MATRIX
                } else {
                    Features::empty()
                });
        let limits = found.limits.clone();
        let experimental_features = if features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            // SAFETY: cooperative matrices are used by one shader, whose loads and stores stay within its workgroup memory.
            unsafe { wgpu::ExperimentalFeatures::enabled() }
        } else {
            wgpu::ExperimentalFeatures::disabled()
        };
        let (device, queue) = pollster::block_on(found.adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("vggkit"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features,
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            trace: wgpu::Trace::Off,
        }))
        .map_err(|e| {
            Error::new(Kind::Engine, format!("{} does not open", found.info.name))
                .with_source(e)
                .with_help("another program may hold it; look at `vggkit devices`, or train with --engine cpu")
        })?;
        let mishaps = Arc::new(Mutex::new(Mishaps::default()));
        let heard = Arc::clone(&mishaps);
        device.set_device_lost_callback(move |reason, message| {
            locked(&heard).lost.get_or_insert(format!("{reason:?} {message}"));
        });
        let heard = Arc::clone(&mishaps);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            locked(&heard).error.get_or_insert(error.to_string());
        }));
        let step = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("step"),
            size: size_of::<StepUniform>() as u64,
            usage: BufferUsages::UNIFORM | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut gpu = Self {
            device,
            queue,
            found,
            features,
            matrices,
            limits,
            step,
            pipelines: None,
            programs: Mutex::default(),
            options: options.clone(),
            shaders_built: AtomicUsize::new(0),
            submissions: AtomicU64::new(0),
            mishaps,
            looking: RwLock::default(),
            allocated: AtomicU64::new(0),
            hanging: AtomicBool::new(false),
        };
        gpu.open_pipelines();
        gpu.check()?;
        Ok(gpu)
    }

    /// Name under which compiled pipelines are kept.
    fn pipelines_name(&self) -> Option<String> {
        let key = wgpu::util::pipeline_cache_key(&self.found.info)?;
        Some(format!("{key}-{}.bin", env!("CARGO_PKG_VERSION")))
    }

    fn open_pipelines(&mut self) {
        let (true, Some(name)) = (self.features.contains(Features::PIPELINE_CACHE), self.pipelines_name()) else {
            return;
        };
        let data = self.options.store.as_ref().and_then(|s| s.load(&name));
        // SAFETY: the data is what `get_data` gave for an adapter of the same key, kept by a store; wgpu checks its
        // header, and `fallback` starts anew where it does not fit.
        self.pipelines = Some(unsafe {
            self.device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("vggkit"),
                data: data.as_deref(),
                fallback: true,
            })
        });
    }

    /// Keeps the compiled pipelines for the next run.
    pub fn save_pipelines(&self) {
        if let (Some(store), Some(name), Some(cache)) =
            (&self.options.store, self.pipelines_name(), self.pipelines.as_ref())
            && let Some(data) = cache.get_data()
        {
            store.save(&name, &data);
        }
    }

    /// Whether it computes on the processor.
    pub fn software(&self) -> bool {
        self.found.software()
    }

    /// Counts `bytes` no longer, after they have been dropped or destroyed.
    pub fn released(&self, bytes: u64) {
        self.allocated.fetch_sub(bytes, Ordering::Relaxed);
        let _ = self.poll(PollType::Poll); // lets wgpu free what was dropped
    }

    /// Whether it is known to be lost.
    pub(super) fn is_lost(&self) -> bool {
        locked(&self.mishaps).lost.is_some()
    }

    /// Keeps why it was lost for the next [`Self::check`].
    pub(super) fn note_loss(&self, reason: &str) {
        locked(&self.mishaps).lost.get_or_insert_with(|| reason.to_owned());
    }

    /// Makes every later wait fail as if the driver never answered.
    pub fn provoke_hang(&self) {
        self.hanging.store(true, Ordering::Relaxed);
    }

    /// Bytes of all buffers made so far.
    pub fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Whether activations are f16 in memory.
    pub fn half(&self) -> bool {
        self.matrices.is_some()
    }

    /// What planning needs to know of it.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities { matrices: self.matrices, ..self.found.capabilities() }
    }

    /// The largest range that a shader can see, in four-byte numbers.
    pub fn binding_floats(&self) -> usize {
        self.capabilities().binding_floats
    }

    /// Tells what went wrong since the last call, if anything.
    pub fn check(&self) -> Result<()> {
        if locked(&self.mishaps).error.is_some() {
            let _ = self.poll(PollType::Poll); // a lost device is told of after the errors that it causes
        }
        let mut mishaps = locked(&self.mishaps);
        let name = &self.found.info.name;
        if let Some(reason) = &mishaps.lost {
            return Err(Error::new(Kind::DeviceLost, format!("the device was lost ({name}: {})", reason.trim()))
                .with_help("its driver was reset or ran out of memory: look at `dmesg`, try a smaller batch (-b)"));
        }
        match mishaps.error.take() {
            Some(error) => Err(Error::new(Kind::Engine, format!("{name}: {error}"))
                .with_help("please report this with the output of `vggkit devices` and `vggkit selftest`")),
            None => Ok(()),
        }
    }

    /// Runs `make` and turns what wgpu finds wrong with it into an error that says it happened while `doing`.
    pub fn scoped<T>(&self, doing: &str, make: impl FnOnce() -> T) -> Result<T> {
        let scopes = [ErrorFilter::Validation, ErrorFilter::OutOfMemory, ErrorFilter::Internal]
            .map(|filter| self.device.push_error_scope(filter));
        let made = make();
        let mut first = None;
        for scope in scopes.into_iter().rev() {
            let error = pollster::block_on(scope.pop());
            first = first.or(error);
        }
        let name = &self.found.info.name;
        match first {
            None => Ok(made),
            Some(wgpu::Error::OutOfMemory { .. }) => Err(self.out_of_memory(doing)),
            Some(wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. }) => {
                self.check()?; // a lost device makes everything invalid
                Err(Error::new(Kind::Engine, format!("{name} refused {doing}: {}", description.trim())))
            }
        }
    }

    fn out_of_memory(&self, doing: &str) -> Error {
        let mib = self.allocated().div_ceil(1 << 20);
        Error::new(Kind::OutOfMemory, format!("{}: out of memory at {doing}, after {mib} MiB", self.found.info.name))
            .with_help("choose a smaller batch (-b) or micro-batches (--micro-batch), or close what else uses the card")
    }

    /// A buffer of `floats` four-byte numbers, all zero. Errors: no memory, larger than a buffer can be.
    pub fn buffer(&self, label: &str, floats: usize) -> Result<Slice> {
        let bytes = floats.max(4) as u64 * 4;
        if bytes > self.limits.max_buffer_size {
            let (most, name) = (self.limits.max_buffer_size >> 20, &self.found.info.name);
            return Err(Error::new(
                Kind::OutOfMemory,
                format!("{name}: {label} needs {} MiB, but a buffer has at most {most}", bytes >> 20),
            )
            .with_help("choose a smaller batch (-b)"));
        }
        let before = self.allocated.fetch_add(bytes, Ordering::Relaxed);
        if matches!(self.options.fault, Some(Fault::Memory(most)) if before + bytes > most) {
            return Err(self.out_of_memory(label));
        }
        let buffer = self.scoped(label, || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes,
                usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        Ok(Slice { buffer, offset: 0, bytes })
    }

    /// A buffer that holds `values`.
    pub fn upload<T: Pod>(&self, label: &str, values: &[T]) -> Result<Slice> {
        let slice = self.buffer(label, size_of_val(values).div_ceil(4))?;
        self.write(&slice, values);
        Ok(slice)
    }

    /// Overwrites the start of `slice`, after all that was submitted before. The bytes are a multiple of four.
    pub fn write<T: Pod>(&self, slice: &Slice, values: &[T]) {
        self.queue.write_buffer(&slice.buffer, slice.offset, bytemuck::cast_slice(values));
    }

    /// Submits a copy of the start of `from`, which is not mapped, to `to`.
    pub fn copy(&self, from: &wgpu::Buffer, to: &Slice) -> wgpu::SubmissionIndex {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(from, 0, &to.buffer, to.offset, to.bytes);
        self.send(encoder.finish())
    }

    /// Makes all of `slice` zero, after all that was submitted before.
    pub fn clear(&self, slice: &Slice) {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.clear_buffer(&slice.buffer, slice.offset, Some(slice.bytes));
        self.send(encoder.finish());
    }

    /// Sets what the next submission's shaders see as `step`.
    pub fn write_step(&self, step: StepUniform) {
        self.queue.write_buffer(&self.step, 0, bytemuck::bytes_of(&step));
    }

    /// Waits for `submission`, or for all. Errors: a lost device, a driver that does not answer.
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let patience = self.patience();
        if self.hanging.load(Ordering::Relaxed) {
            return Err(self.hangs(patience));
        }
        match self.poll(PollType::Wait { submission_index: submission, timeout: Some(patience) }) {
            Ok(_) => self.check(),
            Err(wgpu::PollError::Timeout) => Err(self.hangs(patience)),
            Err(error) => {
                // That a device was lost is told once it has nothing left to do.
                let _ = self.poll(PollType::Wait { submission_index: None, timeout: Some(patience) });
                self.check()?;
                Err(Error::new(Kind::Engine, "waiting for the device").with_source(error))
            }
        }
    }

    /// After which a driver hangs that does not answer. A software device may well need minutes for a large batch.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(if self.software() { 1800 } else { 60 })
    }

    /// The error of a driver that does not answer.
    pub fn hangs(&self, patience: Duration) -> Error {
        let (name, seconds) = (&self.found.info.name, patience.as_secs());
        Error::new(Kind::Engine, format!("{name} has not answered for {seconds} s: its driver hangs"))
            .with_help("look at `dmesg`, try a smaller batch (-b) or another driver version; a restart may be needed")
    }

    /// Copies `slice` back, after all that was submitted before.
    pub fn read<T: Pod>(&self, slice: &Slice) -> Result<Vec<T>> {
        let most = self.limits.max_buffer_size.min(64 << 20);
        let mut values = Vec::with_capacity(slice.bytes as usize / size_of::<T>().max(1));
        let staging = self.scoped("reading back", || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read back"),
                size: slice.bytes.min(most),
                usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        let mut done = 0;
        while done < slice.bytes {
            let bytes = most.min(slice.bytes - done);
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(&slice.buffer, slice.offset + done, &staging, 0, bytes);
            let submission = self.send(encoder.finish());
            staging.slice(..bytes).map_async(wgpu::MapMode::Read, |_| ());
            self.wait(Some(submission))?;
            // A copy through bytes: nothing says that the mapping is aligned for T.
            self.mapped(staging.slice(..bytes), |view| {
                values.extend(view.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned::<T>));
            })?;
            staging.unmap();
            done += bytes;
        }
        Ok(values)
    }
}
