//! What a display says of itself: the parts of EDID (VESA E-EDID 1.4) that people ask for.

/// A display's own words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Display {
    /// Three letters, as in `DEL`.
    pub(super) maker: String,
    pub(super) name: Option<String>,
    /// The preferred mode, in pixels.
    pub(super) preferred: Option<(u16, u16)>,
}

/// Reads a base block; `None` when it is not one.
pub(super) fn parse(edid: &[u8]) -> Option<Display> {
    let block: &[u8; 128] = edid.first_chunk()?;
    if block[..8] != [0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0]
        || block.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)) != 0
    {
        return None;
    }
    let maker = u16::from_be_bytes([block[8], block[9]]);
    let letter = |shift: u16| char::from(b'@' + ((maker >> shift) & 31) as u8);
    let descriptors = || block[54..126].chunks_exact(18);
    // A descriptor that begins with zeros is text or such; any other is a timing.
    let name = descriptors().find(|d| d[..4] == [0, 0, 0, 0xFC]).map(|descriptor| {
        let text: String = descriptor[5..].iter().map(|&byte| char::from(byte)).collect();
        text.split('\n').next().unwrap_or("").trim().to_owned()
    });
    let preferred = descriptors().next().filter(|d| d[0] != 0 || d[1] != 0).map(|timing| {
        let wide = u16::from(timing[2]) | (u16::from(timing[4]) & 0xF0) << 4;
        let high = u16::from(timing[5]) | (u16::from(timing[7]) & 0xF0) << 4;
        (wide, high)
    });
    Some(Display { maker: [letter(10), letter(5), letter(0)].iter().collect(), name, preferred })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block made by hand from the standard, with its checksum.
    fn block() -> [u8; 128] {
        let mut block = [0u8; 128];
        block[..8].copy_from_slice(&[0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0]);
        block[8..10].copy_from_slice(&[0x10, 0xAC]);
        // 1920 x 1080: the low bytes, then the high nibbles.
        block[54..62].copy_from_slice(&[0x02, 0x3A, 0x80, 0x18, 0x71, 0x38, 0x2D, 0x40]);
        block[72..77].copy_from_slice(&[0, 0, 0, 0xFC, 0]);
        block[77..90].copy_from_slice(b"DELL P2419H\n ");
        let sum = block.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
        block[127] = sum.wrapping_neg();
        block
    }

    #[test]
    fn a_monitor() {
        let display = Display {
            maker: "DEL".into(),
            name: Some("DELL P2419H".into()),
            preferred: Some((1920, 1080)),
        };
        assert_eq!(parse(&block()), Some(display));
    }

    #[test]
    fn what_is_no_edid() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0; 128]), None);
        let mut damaged = block();
        damaged[60] ^= 1;
        assert_eq!(parse(&damaged), None);
    }
}
