//! Reading the tensors of a golden file, and the distance between two of them. Golden files are trusted: what does not
//! fit fails the test.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

/// A golden file in memory.
pub struct Tensors(Vec<u8>);

impl Tensors {
    /// Reads a file; a golden file that cannot be read is a failed test.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self(bytes)
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).expect("checked when read")
    }

    /// The names that start with `prefix`, without it.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.file().names().iter().filter_map(|n| n.strip_prefix(prefix)).map(str::to_owned).collect()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.file().tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).shape().to_vec()
    }

    /// The type of a tensor.
    pub fn dtype(&self, name: &str) -> Dtype {
        self.file().tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).dtype()
    }

    /// Any numbers as f64.
    pub fn f64(&self, name: &str) -> Vec<f64> {
        let file = self.file();
        let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bytes = view.data();
        match view.dtype() {
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
            Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            Dtype::U8 => bytes.iter().map(|b| f64::from(*b)).collect(),
            other => panic!("{name} is {other:?}"),
        }
    }

    /// Class indices.
    pub fn labels(&self, name: &str) -> Vec<u32> {
        self.f64(name).iter().map(|v| *v as u32).collect()
    }
}

/// ||a - b|| / ||b|| in L2; the plain norm of a where b is zero. NaN anywhere gives NaN.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "lengths");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    let reference = norm(&mut b.iter().copied());
    if reference == 0.0 { difference } else { difference / reference }
}
