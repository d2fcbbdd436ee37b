//! The frames that a client sends, followed by their nine-byte heads (RFC 9113 4.1): whether a preface
//! or a field block is under way. hyper does not say, and a field block that never ends is a slow
//! header like any other.

/// Bytes of the client's preface (RFC 9113 3.4).
const PREFACE: usize = 24;
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Where in the stream of frames a client is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    /// Bytes of the preface still to come.
    preface: usize,
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the frame's payload still to come.
    payload: usize,
    /// The frame is the last one of its field block.
    last: bool,
    /// A field block has begun and its last frame has not come whole.
    block: bool,
}

/// What some bytes brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// At some point among them nothing was under way.
    pub(super) whole: bool,
    /// Behind the last of them the preface, a frame's head or a field block is under way.
    pub(super) under_way: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            preface: PREFACE,
            head: [0; HEAD],
            have: 0,
            payload: 0,
            last: false,
            block: false,
        }
    }
}

impl Frames {
    fn under_way(&self) -> bool {
        self.preface > 0 || self.block || (self.have > 0 && self.have < HEAD)
    }

    /// Follows some more bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Progress {
        let mut whole = false;
        while !bytes.is_empty() {
            bytes = match (self.preface, self.payload) {
                (1.., _) => take(&mut self.preface, bytes),
                (0, 1..) => take(&mut self.payload, bytes),
                (0, 0) => self.feed_head(bytes),
            };
            if self.payload == 0 && self.have == HEAD {
                self.have = 0;
                self.block &= !self.last;
            }
            whole |= !self.under_way();
        }
        let under_way = self.under_way();
        Progress { whole, under_way }
    }

    fn feed_head<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let count = bytes.len().min(HEAD - self.have);
        self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
        self.have += count;
        if self.have == HEAD {
            let [a, b, c, kind, flags, ..] = self.head;
            self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            let fields = matches!(kind, HEADERS | CONTINUATION);
            self.block |= fields;
            self.last = fields && flags & END_HEADERS != 0;
        }
        &bytes[count..]
    }
}

fn take<'b>(left: &mut usize, bytes: &'b [u8]) -> &'b [u8] {
    let count = bytes.len().min(*left);
    *left -= count;
    &bytes[count..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![
            0,
            (length >> 8) as u8,
            length as u8,
            kind,
            flags,
            0,
            0,
            0,
            1,
        ];
        frame.resize(HEAD + length, 7);
        frame
    }

    #[test]
    fn a_field_block_is_under_way_until_its_last_frame_is_whole() {
        let mut frames = Frames::default();
        let mut ends = |bytes: &[u8]| frames.feed(bytes).under_way;
        assert!(ends(&[b'P'; 23]));
        assert!(!ends(b"\n"));
        assert!(!ends(&frame(4, 0, 18)));
        assert!(ends(&frame(HEADERS, 1, 300)));
        assert!(ends(&frame(CONTINUATION, 0, 0)));
        let last = frame(CONTINUATION, END_HEADERS, 5);
        assert!(ends(&last[..last.len() - 1]));
        assert!(!ends(&last[last.len() - 1..]));
        assert!(
            !ends(&frame(0, 0, 900)[..500]),
            "bodies may take their time"
        );
    }

    #[test]
    fn a_block_after_a_whole_one_is_a_new_one() {
        let mut frames = Frames::default();
        frames.feed(&[0; PREFACE]);
        let (first, second) = (frame(HEADERS, END_HEADERS, 3), frame(HEADERS, 0, 3));
        let progress = frames.feed(&[first, second].concat());
        let (whole, under_way) = (true, true);
        assert_eq!(progress, Progress { whole, under_way });
        let progress = frames.feed(&frame(CONTINUATION, 0, 1));
        let whole = false;
        assert_eq!(progress, Progress { whole, under_way });
    }

    proptest! {
        /// However the bytes are cut, the end is the same.
        #[test]
        fn cuts_do_not_matter(bytes: Vec<u8>, cuts in prop::collection::vec(1usize..40, 0..20)) {
            let mut at_once = Frames::default();
            let end = at_once.feed(&bytes).under_way;
            let mut in_parts = Frames::default();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (part, more) = rest.split_at(cut.min(rest.len()));
                in_parts.feed(part);
                rest = more;
            }
            prop_assert_eq!(in_parts.feed(rest).under_way, end);
        }
    }
}
