//! Where fields stand in the kernel's structures: the part of BTF that answers that, and no more.
//!
//! The general parsers build every type of the kernel (130,000) as an object and take 60 to 300 ms
//! for it; this one indexes positions in one pass and reads a struct when it is asked for.
//! Format: <https://docs.kernel.org/bpf/btf.html>.

/// Type kinds that lead on to another type without adding anything.
const TRANSPARENT: [u32; 5] = [8, 9, 10, 11, 18];
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const FUNC: u32 = 12;
/// How deep anonymous members and typedefs may nest before the data counts as damaged.
const DEPTH: u32 = 16;

/// An indexed BTF blob.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Position of each type in `types`, by type id - 1.
    at: Vec<u32>,
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset from the start of the struct, in bits.
    pub bits: u32,
    type_id: u32,
}

impl Field {
    /// Offset in bytes, rounded down for a bit field.
    pub fn bytes(self) -> u64 {
        u64::from(self.bits / 8)
    }
}

impl<'a> Btf<'a> {
    /// Indexes a blob such as /sys/kernel/btf/vmlinux. `None` if it is damaged or not BTF.
    pub fn parse(blob: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes([*blob.first()?, *blob.get(1)?]) != 0xeb9f {
            return None;
        }
        let section = |offset: usize, length: usize| {
            let start = word(blob, 4)?.checked_add(word(blob, offset)?)? as usize;
            blob.get(start..start.checked_add(word(blob, length)? as usize)?)
        };
        let types = section(8, 12)?;
        let strings = section(16, 20)?;
        let mut at = Vec::with_capacity(types.len() / 24);
        let mut position = 0;
        while position < types.len() {
            at.push(position as u32);
            let info = word(types, position + 4)?;
            let members = (info & 0xffff) as usize;
            position += 12
                + match kind(info) {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    STRUCT | UNION | 15 | 19 => 12 * members,
                    6 | 13 => 8 * members,
                    2 | 7..=12 | 16 | 18 => 0,
                    _ => return None,
                };
        }
        Some(Self { types, strings, at })
    }

    /// Position of `struct name`, for [`Btf::field`] and [`Btf::size`].
    pub fn find(&self, name: &str) -> Option<u32> {
        self.find_kind(STRUCT, name)
    }

    /// Number of the function `name`.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.find_kind(FUNC, name)
    }

    fn find_kind(&self, wanted: u32, name: &str) -> Option<u32> {
        let found = self.at.iter().position(|&position| {
            let position = position as usize;
            word(self.types, position + 4).is_some_and(|info| kind(info) == wanted)
                && word(self.types, position).is_some_and(|at| self.string_is(at, name))
        })?;
        Some(found as u32 + 1)
    }

    /// Size of a struct in bytes.
    pub fn size(&self, type_id: u32) -> Option<u64> {
        word(self.types, self.position(type_id)? + 8).map(u64::from)
    }

    /// Where `path` (`member.member`) stands in the struct `type_id`. Anonymous members are
    /// looked through.
    pub fn field(&self, type_id: u32, path: &str) -> Option<Field> {
        let mut field = Field { bits: 0, type_id };
        for name in path.split('.') {
            let inner = self.member(self.resolve(field.type_id)?, name, DEPTH)?;
            field = Field {
                bits: field.bits.checked_add(inner.bits)?,
                type_id: inner.type_id,
            };
        }
        Some(field)
    }

    fn member(&self, type_id: u32, name: &str, depth: u32) -> Option<Field> {
        let position = self.position(type_id)?;
        let info = word(self.types, position + 4)?;
        if depth == 0 || !matches!(kind(info), STRUCT | UNION) {
            return None;
        }
        for index in 0..(info & 0xffff) as usize {
            let member = position + 12 + 12 * index;
            let member_name = word(self.types, member)?;
            let member_type = word(self.types, member + 4)?;
            let offset = word(self.types, member + 8)?;
            let bits = if info >> 31 == 1 {
                offset & 0x00ff_ffff
            } else {
                offset
            };
            if self.string_is(member_name, name) {
                return Some(Field {
                    bits,
                    type_id: member_type,
                });
            }
            if self.string_is(member_name, "") {
                let inside = self
                    .resolve(member_type)
                    .and_then(|t| self.member(t, name, depth - 1));
                if let Some(found) = inside {
                    return Some(Field {
                        bits: bits.checked_add(found.bits)?,
                        ..found
                    });
                }
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut type_id: u32) -> Option<u32> {
        for _ in 0..DEPTH {
            let position = self.position(type_id)?;
            if !TRANSPARENT.contains(&kind(word(self.types, position + 4)?)) {
                return Some(type_id);
            }
            type_id = word(self.types, position + 8)?;
        }
        None
    }

    fn position(&self, type_id: u32) -> Option<usize> {
        self.at
            .get((type_id as usize).checked_sub(1)?)
            .map(|&position| position as usize)
    }

    fn string_is(&self, at: u32, name: &str) -> bool {
        self.strings.get(at as usize..).is_some_and(|rest| {
            rest.strip_prefix(name.as_bytes())
                .is_some_and(|r| r.first() == Some(&0))
        })
    }
}

fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `struct outer { int a; union { struct inner in; int b; }; int bit:3 }`, by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0inner\0x\0outer\0a\0in\0b\0bit\0";
        let name = |wanted: &str| {
            let wanted = format!("\0{wanted}\0");
            strings
                .windows(wanted.len())
                .position(|w| w == wanted.as_bytes())
                .expect("name") as u32
                + 1
        };
        let types: Vec<u32> = vec![
            name("int"),
            1 << 24,
            4,
            32,
            name("inner"),
            4 << 24 | 2,
            8,
            name("a"),
            1,
            0,
            name("x"),
            1,
            32,
            0,
            5 << 24 | 2,
            8,
            name("in"),
            2,
            0,
            name("b"),
            1,
            0,
            name("outer"),
            1 << 31 | 4 << 24 | 3,
            16,
            name("a"),
            1,
            0,
            0,
            3,
            32,
            name("bit"),
            1,
            3 << 24 | 97,
        ];
        let mut blob = Vec::new();
        let bytes = types.len() as u32 * 4;
        blob.extend(0xeb9fu16.to_ne_bytes());
        blob.extend([1, 0]);
        for header in [24, 0, bytes, bytes, strings.len() as u32] {
            blob.extend(header.to_ne_bytes());
        }
        blob.extend(types.iter().flat_map(|t| t.to_ne_bytes()));
        blob.extend(strings);
        blob
    }

    #[test]
    fn fields_are_found_through_anonymous_members_and_paths() {
        let blob = sample();
        let btf = Btf::parse(&blob).expect("sample");
        let outer = btf.find("outer").expect("outer");
        let bits = |path| btf.field(outer, path).map(|f| f.bits);
        assert_eq!(bits("a"), Some(0));
        assert_eq!(bits("b"), Some(32));
        assert_eq!(bits("in.x"), Some(64));
        assert_eq!(bits("bit"), Some(97));
        assert_eq!(btf.field(outer, "bit").map(Field::bytes), Some(12));
        assert_eq!(bits("x"), None);
        assert_eq!(bits("a.b"), None);
        assert_eq!(btf.find("nothing"), None);
        assert_eq!(btf.size(outer), Some(16));
    }

    proptest! {
        #[test]
        fn damaged_data_is_refused_or_read_never_a_panic(
            flips in prop::collection::vec((0usize..300, any::<u8>()), 0..8), cut in 0usize..300,
        ) {
            let mut blob = sample();
            for (at, byte) in flips {
                let at = at % blob.len();
                blob[at] = byte;
            }
            blob.truncate(cut);
            if let Some(btf) = Btf::parse(&blob) {
                for name in ["outer", "inner", "int"] {
                    if let Some(id) = btf.find(name) {
                        btf.field(id, "in.x");
                        btf.field(id, "bit");
                    }
                }
            }
        }
    }
}
