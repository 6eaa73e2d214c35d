//! The instruction set: one table.
//!
//! An instruction is a 128-bit little-endian word. The lowest 8 bits are the opcode; the fields follow in the order of the table,
//! from the lowest bit up; the bits that are left are zero.
//!
//! ```text
//! bit 127                                                       8 7      0
//!     | zero | last field | ...            | second | first field | opcode |
//! ```

use std::fmt;

/// Major version: a machine refuses another.
pub const ISA_MAJOR: u16 = 3;
/// Minor version: a machine refuses a later one.
pub const ISA_MINOR: u16 = 0;
/// Bytes of an instruction.
pub const INSTRUCTION_BYTES: usize = 16;
/// Bytes in the unit of weight and constant addresses.
pub const ADDRESS_UNIT: u64 = 64;

/// A type that a field can have.
trait Field: Sized {
    fn to_bits(self) -> u64;
    fn from_bits(bits: u64) -> Option<Self>;
    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    fn parse(text: &str) -> Option<Self>;
}

macro_rules! integer_field {
    ($($ty:ty),*) => {$(
        impl Field for $ty {
            fn to_bits(self) -> u64 {
                self.into()
            }
            fn from_bits(bits: u64) -> Option<Self> {
                Self::try_from(bits).ok()
            }
            fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}
integer_field!(u8, u16, u32, u64);

impl Field for bool {
    fn to_bits(self) -> u64 {
        self.into()
    }
    fn from_bits(bits: u64) -> Option<Self> {
        Some(bits != 0)
    }
    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", u8::from(self))
    }
    fn parse(text: &str) -> Option<Self> {
        ["0", "1"].iter().position(|&digit| digit == text).map(|value| value == 1)
    }
}

/// Finite numbers only, so that the text form keeps every bit.
impl Field for f32 {
    fn to_bits(self) -> u64 {
        f32::to_bits(self).into()
    }
    fn from_bits(bits: u64) -> Option<Self> {
        Some(f32::from_bits(u32::try_from(bits).ok()?)).filter(|value| value.is_finite())
    }
    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|value: &f32| value.is_finite())
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Lowest 8 bits of the word.
    pub opcode: u8,
    /// Name in assembly text.
    pub mnemonic: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Its fields, lowest bits first.
    pub fields: &'static [FieldDefinition],
}

/// A field of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDefinition {
    /// Name in assembly text.
    pub name: &'static str,
    /// Width in bits.
    pub bits: u32,
    /// Type of its value.
    pub ty: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// Fills a word from the lowest bits up.
struct BitSink {
    word: u128,
    used: u32,
}

impl BitSink {
    fn put(&mut self, name: &str, bits: u32, value: impl Field) -> Result<(), String> {
        let value = value.to_bits();
        if u128::from(value) >> bits != 0 {
            return Err(format!("{name} is {value}; it must fit {bits} bits"));
        }
        self.word |= u128::from(value) << self.used;
        self.used += bits;
        Ok(())
    }
}

/// Takes the fields of a word from the lowest bits up.
struct BitSource(u128);

impl BitSource {
    fn take<T: Field>(&mut self, name: &str, bits: u32) -> Result<T, String> {
        let value = (self.0 & ((1 << bits) - 1)) as u64;
        self.0 >>= bits;
        T::from_bits(value).ok_or_else(|| format!("{name} has the bits {value:#x}; a finite number is required"))
    }
}

/// The `name=value` pairs of a line of text.
struct TextSource<'a>(Vec<(&'a str, &'a str)>);

impl TextSource<'_> {
    fn take<T: Field>(&mut self, name: &str) -> Result<T, String> {
        let at = self.0.iter().position(|(found, _)| *found == name).ok_or_else(|| format!("{name} is missing"))?;
        let (_, text) = self.0.remove(at);
        T::parse(text).ok_or_else(|| format!("{name}={text} is not a value of its type"))
    }
}

/// Whether opcode and fields of these widths fit an instruction, and each field a u64.
const fn fits_word(widths: &[u32]) -> bool {
    let (mut sum, mut i) = (0, 0);
    while i < widths.len() {
        if widths[i] > 63 {
            return false;
        }
        sum += widths[i];
        i += 1;
    }
    sum as usize <= 8 * INSTRUCTION_BYTES
}

impl Instruction {
    /// The bits of a field; `None` where the instruction has none of that name, or a field of it does not fit.
    pub fn field(&self, name: &str) -> Option<u64> {
        let fields = self.definition().fields;
        let at = fields.iter().position(|field| field.name == name)?;
        let shift: u32 = 8 + fields[..at].iter().map(|field| field.bits).sum::<u32>();
        Some((self.encode().ok()? >> shift & ((1 << fields[at].bits) - 1)) as u64)
    }
}

macro_rules! instruction_set {
    ($(
        $(#[doc = $doc:literal])+
        $opcode:literal $mnemonic:literal $name:ident {
            $($(#[doc = $field_doc:literal])+ $field:ident: $ty:ident, $bits:literal;)*
        }
    )*) => {
        /// One instruction.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Instruction {
            $(
                $(#[doc = $doc])+
                $name {
                    $($(#[doc = $field_doc])+ $field: $ty,)*
                },
            )*
        }

        /// The table, in order of opcodes.
        pub const DEFINITIONS: &[Definition] = &[$(
            Definition {
                opcode: $opcode,
                mnemonic: $mnemonic,
                doc: concat!($($doc),+),
                fields: &[$(FieldDefinition {
                    name: stringify!($field),
                    bits: $bits,
                    ty: stringify!($ty),
                    doc: concat!($($field_doc),+),
                }),*],
            }
        ),*];

        impl Instruction {
            /// Its row of the table.
            pub fn definition(&self) -> &'static Definition {
                let opcode: u8 = match self {
                    $(Self::$name { .. } => $opcode,)*
                };
                DEFINITIONS.iter().find(|d| d.opcode == opcode).expect("every variant is a row of the table")
            }

            /// The word.
            ///
            /// # Errors
            /// Names a field whose value is too large.
            #[allow(unused_mut, reason = "an instruction may have no fields")]
            pub fn encode(&self) -> Result<u128, String> {
                match *self {
                    $(Self::$name { $($field),* } => {
                        let mut sink = BitSink { word: u128::from($opcode as u8), used: 8 };
                        $(sink.put(stringify!($field), $bits, $field)?;)*
                        Ok(sink.word)
                    })*
                }
            }

            /// The instruction of a word.
            ///
            /// # Errors
            /// An unknown opcode, a number that is not finite, or a reserved bit that is set.
            pub fn decode(word: u128) -> Result<Self, String> {
                let mut source = BitSource(word >> 8);
                let instruction = match (word & 0xff) as u8 {
                    $($opcode => Self::$name { $($field: source.take(stringify!($field), $bits)?),* },)*
                    opcode => return Err(format!("opcode {opcode:#04x} is not in the table")),
                };
                if source.0 == 0 { Ok(instruction) } else { Err("reserved bits must be zero".into()) }
            }

            /// Reads what [`fmt::Display`] writes.
            ///
            /// # Errors
            /// An unknown mnemonic, or a field that is missing, unknown, given twice or malformed.
            pub fn parse(line: &str) -> Result<Self, String> {
                let mut words = line.split_whitespace();
                let mnemonic = words.next().ok_or("an instruction is required")?;
                let pairs: Option<Vec<_>> = words.map(|word| word.split_once('=')).collect();
                let mut source = TextSource(pairs.ok_or("fields have the form name=value")?);
                let instruction = match mnemonic {
                    $($mnemonic => Self::$name { $($field: source.take(stringify!($field))?),* },)*
                    _ => return Err(format!("{mnemonic} is not in the instruction table")),
                };
                match source.0.first() {
                    None => Ok(instruction),
                    Some((name, _)) => Err(format!("{name} is not a field of {mnemonic}, or is given twice")),
                }
            }
        }

        impl fmt::Display for Instruction {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name { $($field),* } => {
                        f.write_str($mnemonic)?;
                        $(
                            f.write_str(concat!(" ", stringify!($field), "="))?;
                            Field::write($field, f)?;
                        )*
                        Ok(())
                    })*
                }
            }
        }

        // Every instruction fits its word.
        const _: () = { $(assert!(fits_word(&[8 $(, $bits)*]));)* };
    };
}

instruction_set! {
    /// The tensor that the next operations read.
    0x01 "SET_INPUT" SetInput {
        /// First byte in the activation buffer, or in the arena.
        address: u32, 32;
        /// Rows.
        height: u32, 25;
        /// Columns.
        width: u32, 25;
        /// Channels, innermost.
        channels: u32, 25;
        /// Code of the real value 0.
        zero_point: u8, 8;
        /// In the arena, which lies in DRAM; else in the activation buffer.
        dram: bool, 1;
    }
    /// The second tensor that ADD reads.
    0x02 "SET_ADDEND" SetAddend {
        /// First byte in the activation buffer, or in the arena.
        address: u32, 32;
        /// Rows.
        height: u32, 25;
        /// Columns.
        width: u32, 25;
        /// Channels, innermost.
        channels: u32, 25;
        /// Code of the real value 0.
        zero_point: u8, 8;
        /// In the arena, which lies in DRAM; else in the activation buffer.
        dram: bool, 1;
    }
    /// The tensor that the next operations write.
    0x03 "SET_OUTPUT" SetOutput {
        /// First byte in the activation buffer, or in the arena.
        address: u32, 32;
        /// Rows.
        height: u32, 25;
        /// Columns.
        width: u32, 25;
        /// Channels, innermost.
        channels: u32, 25;
        /// Code of the real value 0.
        zero_point: u8, 8;
        /// In the arena, which lies in DRAM; else in the activation buffer.
        dram: bool, 1;
    }
    /// Taps of the window.
    0x04 "SET_KERNEL" SetKernel {
        /// Taps down.
        height: u32, 25;
        /// Taps across.
        width: u32, 25;
        /// Rows between taps.
        dilation_height: u32, 25;
        /// Columns between taps.
        dilation_width: u32, 25;
    }
    /// Steps of the window.
    0x05 "SET_STRIDE" SetStride {
        /// Rows between positions.
        height: u32, 25;
        /// Columns between positions.
        width: u32, 25;
    }
    /// Cells around the image.
    0x06 "SET_PADDING" SetPadding {
        /// Rows above.
        top: u32, 25;
        /// Columns to the left.
        left: u32, 25;
        /// Rows below.
        bottom: u32, 25;
        /// Columns to the right.
        right: u32, 25;
    }
    /// The layer's weights and constants; all its output channels.
    0x07 "SET_WEIGHTS" SetWeights {
        /// First byte of the packed codes in the weights section / 64.
        weights: u64, 34;
        /// First byte of biases, then multipliers, in the constants section / 64.
        constants: u64, 30;
        /// Bit planes, 2 to 8: cycles a step takes.
        bits: u8, 4;
        /// Output channels of the layer.
        outputs: u32, 25;
        /// Groups of channels.
        groups: u32, 25;
        /// What the lanes of a step take: 0 channels of a tap, 1 taps of a channel, 2 a piece of the whole depth.
        lanes_over: u8, 2;
    }
    /// Range of result codes.
    0x08 "SET_CLAMP" SetClamp {
        /// Lowest code.
        lo: u8, 8;
        /// Highest code.
        hi: u8, 8;
    }
    /// The host tensor that EXECUTE_HOST writes.
    0x09 "SET_HOST" SetHost {
        /// First host value.
        host: u32, 32;
        /// Rows.
        height: u32, 25;
        /// Columns.
        width: u32, 25;
        /// Channels.
        channels: u32, 25;
        /// Order of the host values: (row, column, channel), or (channel, row, column).
        channel_last: bool, 1;
    }
    /// The operator of the network that what follows belongs to.
    0x0a "BEGIN" Begin {
        /// Operator of the network, for reports.
        operator: u16, 16;
        /// What follows, but for LOAD_WEIGHTS, starts when all before has ended.
        sync: bool, 1;
    }
    /// The place of an operand of VECTOR in the activation buffer; without one it lies in the arena.
    0x0b "PLACE" Place {
        /// Tensor of the plan.
        tensor: u32, 32;
        /// First byte in the activation buffer.
        address: u32, 32;
    }
    /// Repeats the instructions that follow; what it names grows with each time.
    0x0c "LOOP" Loop {
        /// How often the body is executed.
        times: u16, 16;
        /// Instructions of the body.
        length: u8, 8;
        /// Added to first_output.
        outputs: u32, 20;
        /// Added to channel of EXECUTE.
        channels: u32, 20;
        /// Added to dram of LOAD_ACTIVATIONS.
        load: u32, 28;
        /// Added to dram of STORE.
        store: u32, 28;
    }
    /// Host floats to codes.
    0x10 "QUANTIZE" Quantize {
        /// First host value.
        host: u32, 32;
        /// 1 / scale of the result.
        inv_scale: f32, 32;
        /// Order of the host values: (row, column, channel), or (channel, row, column).
        channel_last: bool, 1;
    }
    /// Maximum over the window; cells outside the image never win.
    0x13 "POOL_MAX" PoolMax {
    }
    /// Mean over the window.
    0x14 "POOL_AVG" PoolAvg {
        /// Scale of the input / scale of the result.
        multiplier: f32, 32;
        /// Whether cells outside the image count in the divisor.
        count_include_pad: bool, 1;
    }
    /// Sum of input and addend.
    0x15 "ADD" Add {
        /// Scale of the input / scale of the result.
        multiplier_a: f32, 32;
        /// Scale of the addend / scale of the result.
        multiplier_b: f32, 32;
    }
    /// All channels of the input to a range of the result's channels.
    0x16 "COPY_CHANNELS" CopyChannels {
        /// First channel of the result.
        first_channel: u32, 25;
    }
    /// COPY_CHANNELS to another scale.
    0x17 "SCALE_CHANNELS" ScaleChannels {
        /// First channel of the result.
        first_channel: u32, 25;
        /// Scale of the input / scale of the result.
        multiplier: f32, 32;
    }
    /// Multiplier and addend for each channel.
    0x18 "AFFINE" Affine {
        /// First byte of multipliers, then addends, in the constants section / 64.
        constants: u64, 30;
    }
    /// The same codes in (channel, row, column) order under other extents.
    0x19 "RESHAPE" Reshape {
    }
    /// Codes to host floats.
    0x1a "DEQUANTIZE" Dequantize {
        /// First host value.
        host: u32, 32;
        /// Real value of one step.
        scale: f32, 32;
        /// Order of the host values: (row, column, channel), or (channel, row, column).
        channel_last: bool, 1;
    }
    /// The next output of the network.
    0x1c "RETURN" Return {
        /// First host value.
        host: u32, 32;
        /// Values.
        count: u32, 25;
    }
    /// An operator of the network on tensors by the vector unit: its record in the plan says what it computes.
    0x1d "VECTOR" Vector {
        /// Operator of the network.
        operator: u16, 16;
    }
    /// An operator of the network on floats by the host: its record in the plan says what it computes.
    0x1e "HOST" Host {
        /// Operator of the network.
        operator: u16, 16;
    }
    /// Packed weights and constants of output channels from DRAM to the buffers.
    0x20 "LOAD_WEIGHTS" LoadWeights {
        /// Takes a token of the execute queue first.
        wait_execute: bool, 1;
        /// Gives a token to the execute queue at its end.
        signal_execute: bool, 1;
        /// First byte in the weight buffer.
        buffer: u32, 24;
        /// First entry of the constants buffer.
        slot: u16, 12;
        /// First output channel, a multiple of 16.
        first_output: u32, 25;
        /// Output channels.
        outputs: u32, 17;
    }
    /// Runs of bytes from the arena in DRAM to dense bytes of the activation buffer.
    0x21 "LOAD_ACTIVATIONS" LoadActivations {
        /// Takes a token of the execute queue first.
        wait_execute: bool, 1;
        /// Gives a token to the execute queue at its end.
        signal_execute: bool, 1;
        /// First byte in the arena.
        dram: u32, 32;
        /// First byte in the activation buffer.
        buffer: u32, 24;
        /// Bytes of a run.
        run: u32, 20;
        /// Runs.
        runs: u32, 18;
        /// Bytes of the arena from one run to the next.
        pitch: u32, 22;
    }
    /// Bit-serial convolution of the input's tile to channels of the output's tile.
    0x22 "EXECUTE" Execute {
        /// Takes a token of the load queue first.
        wait_load: bool, 1;
        /// Takes a token of the store queue first.
        wait_store: bool, 1;
        /// Gives a token to the load queue at its end.
        signal_load: bool, 1;
        /// Gives a token to the store queue at its end.
        signal_store: bool, 1;
        /// First byte of the weights in the weight buffer.
        weights: u32, 24;
        /// First entry of the constants buffer.
        slot: u16, 12;
        /// First output channel of the layer, a multiple of 16.
        first_output: u32, 25;
        /// Output channels.
        outputs: u32, 17;
        /// Channel of the output's tile that the first goes to.
        channel: u32, 25;
    }
    /// Bit-serial convolution of the input's tile to rows of the host tensor.
    0x23 "EXECUTE_HOST" ExecuteHost {
        /// Takes a token of the load queue first.
        wait_load: bool, 1;
        /// Takes a token of the store queue first.
        wait_store: bool, 1;
        /// Gives a token to the load queue at its end.
        signal_load: bool, 1;
        /// Gives a token to the store queue at its end.
        signal_store: bool, 1;
        /// First byte of the weights in the weight buffer.
        weights: u32, 24;
        /// First entry of the constants buffer.
        slot: u16, 12;
        /// First output channel of the layer, a multiple of 16.
        first_output: u32, 25;
        /// Output channels.
        outputs: u32, 17;
        /// Row of the host tensor that the first goes to.
        first_row: u32, 25;
    }
    /// Dense bytes of the activation buffer to runs of bytes of the arena in DRAM.
    0x24 "STORE" Store {
        /// Takes a token of the execute queue first.
        wait_execute: bool, 1;
        /// Gives a token to the execute queue at its end.
        signal_execute: bool, 1;
        /// First byte in the arena.
        dram: u32, 32;
        /// First byte in the activation buffer.
        buffer: u32, 24;
        /// Bytes of a run.
        run: u32, 20;
        /// Runs.
        runs: u32, 18;
        /// Bytes of the arena from one run to the next.
        pitch: u32, 22;
    }
    /// End of the program.
    0x2f "END" End {}
}
