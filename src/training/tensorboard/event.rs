//! The records that TensorBoard reads: the few of its protocol buffers that are written, and their framing.
//!
//! Names, numbers and types of fields are those of `event.proto`, `summary.proto` and `tensor.proto` of
//! <https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto>. Nothing is read here.

use prost::Message;

/// One record of a file.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Of the training.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// What it says.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// What an [`Event`] says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum What {
    /// The first record of a file.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Values.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// That a session begins: what was said of this step and later ones no longer holds.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// Whether a session begins.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// [`START`].
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// `SessionLog.START`.
pub const START: i32 = 1;

/// Values of one step.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// Each with its tag.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// A value with its tag.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Its name.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// For which part of TensorBoard it is, where that does not follow from its kind.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<Metadata>,
    /// The value.
    #[prost(oneof = "Kind", tags = "2, 5, 8")]
    pub kind: Option<Kind>,
}

/// A value of one of these kinds.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// A number.
    #[prost(float, tag = "2")]
    Scalar(f32),
    /// A histogram.
    #[prost(message, tag = "5")]
    Histogram(Histogram),
    /// A tensor; of text here.
    #[prost(message, tag = "8")]
    Tensor(Tensor),
}

/// How numbers are spread: `bucket[i]` of them lie above `bucket_limit[i - 1]` and up to `bucket_limit[i]`.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// The least.
    #[prost(double, tag = "1")]
    pub min: f64,
    /// The largest.
    #[prost(double, tag = "2")]
    pub max: f64,
    /// How many.
    #[prost(double, tag = "3")]
    pub num: f64,
    /// Of all.
    #[prost(double, tag = "4")]
    pub sum: f64,
    /// Of all.
    #[prost(double, tag = "5")]
    pub sum_squares: f64,
    /// Rising.
    #[prost(double, repeated, packed = "true", tag = "6")]
    pub bucket_limit: Vec<f64>,
    /// Counts.
    #[prost(double, repeated, packed = "true", tag = "7")]
    pub bucket: Vec<f64>,
}

/// `SummaryMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    /// For which part of TensorBoard.
    #[prost(message, optional, tag = "1")]
    pub plugin_data: Option<PluginData>,
}

/// `SummaryMetadata.PluginData`.
#[derive(Clone, PartialEq, Message)]
pub struct PluginData {
    /// Its name, such as `text`.
    #[prost(string, tag = "1")]
    pub plugin_name: String,
}

/// `TensorProto` of texts.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// [`STRING`].
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    /// How many.
    #[prost(message, optional, tag = "2")]
    pub tensor_shape: Option<TensorShape>,
    /// The texts.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub string_val: Vec<Vec<u8>>,
}

/// `DataType.DT_STRING`.
pub const STRING: i32 = 7;

/// `TensorShapeProto`.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShape {
    /// Outermost first.
    #[prost(message, repeated, tag = "2")]
    pub dim: Vec<Dimension>,
}

/// `TensorShapeProto.Dim`.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// Its length.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// Adds an event to `bytes` as a TFRecord has it: its length, that masked checksum, the event, its masked checksum.
pub fn append(bytes: &mut Vec<u8>, event: &Event) {
    let (length, message) = ((event.encoded_len() as u64).to_le_bytes(), event.encode_to_vec());
    bytes.extend(length);
    bytes.extend(masked(&length).to_le_bytes());
    bytes.extend(&message);
    bytes.extend(masked(&message).to_le_bytes());
}

/// CRC-32C, turned and shifted, so that the checksum of bytes that hold their own checksum is none of a kind.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first record of a file, a second after 1970 began: field 1 is a double, field 3 a string of 13 bytes.
    #[test]
    fn a_record_has_the_bytes_of_its_definition() {
        let what = Some(What::FileVersion("brain.Event:2".into()));
        let mut bytes = Vec::new();
        append(&mut bytes, &Event { wall_time: 1.0, step: 0, what });
        let message = b"\x09\0\0\0\0\0\0\xf0\x3f\x1a\x0dbrain.Event:2";
        assert_eq!(bytes[..8], 24_u64.to_le_bytes());
        assert_eq!(bytes[12..36], message[..]);
        assert_eq!(bytes.len(), 8 + 4 + 24 + 4);
    }

    /// The checksum of RFC 3720, B.4: 32 bytes of 0 are 8a9136aa.
    #[test]
    fn checksums_are_masked() {
        assert_eq!(masked(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }
}
