//! Cuts the byte stream into pieces: at a line feed, at 16 KiB, or after some quiet.
//!
//! What must hold: the pieces' bytes, concatenated, are the stream's bytes. Time belongs to the
//! caller, who calls [`Pieces::close`] when [`Pieces::open`] has been so for long enough.

use bytes::Bytes;
use deckport_protocol::limits::PIECE_BYTES;

/// One piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub bytes: Bytes,
    /// Its line is not over.
    pub continues: bool,
}

/// The bytes of a piece that has not closed yet.
#[derive(Debug, Default)]
pub struct Pieces {
    pending: Vec<u8>,
}

impl Pieces {
    /// Whether some bytes wait for their piece to close.
    pub const fn open(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes `bytes` and hands each piece that closes to `out`.
    pub fn feed(&mut self, bytes: &[u8], mut out: impl FnMut(Piece)) {
        let known = self.pending.len();
        self.pending.extend_from_slice(bytes);
        if self.pending.len() < PIECE_BYTES && memchr::memchr(b'\n', bytes).is_none() {
            return;
        }
        // One allocation for the whole read; pieces share it.
        let all = Bytes::from(std::mem::take(&mut self.pending));
        let mut begin = 0;
        let mut feeds = memchr::memchr_iter(b'\n', &all[known..]).map(|at| known + at + 1);
        let mut next_feed = feeds.next();
        // Exits when what is left is neither a line nor a full piece.
        loop {
            let end = match next_feed {
                Some(end) if end - begin <= PIECE_BYTES => {
                    next_feed = feeds.next();
                    out(Piece { bytes: all.slice(begin..end), continues: false });
                    begin = end;
                    continue;
                }
                _ => begin + PIECE_BYTES,
            };
            if end > all.len() {
                break;
            }
            out(Piece { bytes: all.slice(begin..end), continues: true });
            begin = end;
        }
        self.pending.extend_from_slice(&all[begin..]);
    }

    /// Closes the open piece; its line goes on.
    pub fn close(&mut self) -> Option<Piece> {
        let open = self.open();
        open.then(|| Piece { bytes: std::mem::take(&mut self.pending).into(), continues: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_and_a_rest() {
        let mut pieces = Pieces::default();
        let mut out = Vec::new();
        pieces.feed(b"one\ntwo\r\nth", |piece| out.push(piece));
        assert_eq!(out.len(), 2);
        assert_eq!(&out[1].bytes[..], b"two\r\n");
        assert!(!out[1].continues);
        assert!(pieces.open());
        let rest = pieces.close().unwrap();
        assert_eq!((&rest.bytes[..], rest.continues), (&b"th"[..], true));
        assert!(pieces.close().is_none());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_bounds_hold(
            chunks in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..300),
                    Just(vec![b'x'; PIECE_BYTES]),
                    Just(vec![b'x'; PIECE_BYTES - 1]),
                    Just(vec![b'x'; 3 * PIECE_BYTES + 1]),
                    Just(b"\n".to_vec()),
                ],
                0..12,
            )
        ) {
            let mut pieces = Pieces::default();
            let mut out = Vec::new();
            for chunk in &chunks {
                pieces.feed(chunk, |piece| out.push(piece));
            }
            out.extend(pieces.close());
            let joined: Vec<u8> = out.iter().flat_map(|piece| piece.bytes.to_vec()).collect();
            prop_assert_eq!(joined, chunks.concat());
            for piece in &out {
                prop_assert!(!piece.bytes.is_empty() && piece.bytes.len() <= PIECE_BYTES);
                prop_assert_eq!(piece.continues, piece.bytes.last() != Some(&b'\n'));
                prop_assert!(!piece.bytes[..piece.bytes.len() - 1].contains(&b'\n'));
            }
        }
    }
}
