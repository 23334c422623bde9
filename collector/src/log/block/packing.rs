//! Parts of a block, each packed as one zstd frame with its size in front and a checksum behind.

use super::{BLOCK_BYTES, BlockError};
use std::cell::RefCell;

/// More than anything that is packed as one part.
const PART_BYTES: usize = 256 * 1024 * 1024;
const LEVEL: i32 = 1;
/// Memory that a thread puts by at most.
const SPARE_BYTES: usize = 4 * BLOCK_BYTES as usize;

pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    thread_local! {
        static PACKER: RefCell<zstd::bulk::Compressor<'static>> = RefCell::new(packer());
    }
    PACKER.with_borrow_mut(|packer| {
        // It fails only where memory does.
        packer.compress(bytes).expect("a buffer of the bound's size is enough")
    })
}

fn packer() -> zstd::bulk::Compressor<'static> {
    let mut packer = zstd::bulk::Compressor::new(LEVEL).expect("the level is one that zstd knows");
    packer.include_checksum(true).expect("zstd has checksums");
    packer
}

type Unpacker = RefCell<zstd::bulk::Decompressor<'static>>;

fn unpacker() -> zstd::bulk::Decompressor<'static> {
    zstd::bulk::Decompressor::new().expect("a context is made of memory alone")
}

thread_local! {
    /// See [`spare`].
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One part that was packed with its size in front.
pub(in crate::log) fn unpack(part: &'static str, bytes: &[u8]) -> Result<Vec<u8>, BlockError> {
    unpack_into(part, bytes, Vec::new())
}

/// The same into memory that [`spare`] put by, without a look at the checksum if the part was `sound` before: a tenth of the time goes
/// into that.
pub(super) fn unpack_spared(
    part: &'static str,
    bytes: &[u8],
    sound: bool,
) -> Result<Vec<u8>, BlockError> {
    let spare = SPARE.take();
    if sound { unpack_again(part, bytes, spare) } else { unpack_into(part, bytes, spare) }
}

/// Puts memory by for the next part that this thread unpacks: fresh memory costs as much as a tenth of the unpacking.
pub(super) fn spare(memory: Vec<u8>) {
    if memory.capacity() <= SPARE_BYTES {
        SPARE.set(memory);
    }
}

fn unpack_into(part: &'static str, bytes: &[u8], memory: Vec<u8>) -> Result<Vec<u8>, BlockError> {
    thread_local! {
        static UNPACKER: Unpacker = RefCell::new(unpacker());
    }
    UNPACKER.with(|unpacker| unpack_with(unpacker, part, bytes, memory))
}

/// Without a look at the checksum.
fn unpack_again(part: &'static str, bytes: &[u8], memory: Vec<u8>) -> Result<Vec<u8>, BlockError> {
    thread_local! {
        static UNPACKER: Unpacker = {
            let mut unpacker = unpacker();
            let ignored = zstd::zstd_safe::DParameter::ForceIgnoreChecksum(true);
            unpacker.set_parameter(ignored).expect("the library knows its own parameter");
            RefCell::new(unpacker)
        };
    }
    UNPACKER.with(|unpacker| unpack_with(unpacker, part, bytes, memory))
}

fn unpack_with(
    unpacker: &Unpacker,
    part: &'static str,
    bytes: &[u8],
    mut memory: Vec<u8>,
) -> Result<Vec<u8>, BlockError> {
    let error = |why: String| BlockError::Packed { part, why };
    let size = match zstd::zstd_safe::get_frame_content_size(bytes) {
        Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX),
        Ok(None) | Err(_) => return Err(error("it does not begin like a packed part".to_owned())),
    };
    if size > PART_BYTES {
        return Err(error(format!("it would be {size} bytes")));
    }
    memory.clear();
    memory.reserve_exact(size);
    let unpacked = unpacker.borrow_mut().decompress_to_buffer(bytes, &mut memory);
    unpacked.map(|_| memory).map_err(|why| error(why.to_string()))
}
