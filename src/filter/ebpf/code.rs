//! eBPF instructions with labels in the place of distances.
//!
//! Source: RFC 9669, and the kernel's legacy packet loads. An instruction is eight bytes: operation, registers, distance,
//! number.

/// A register: 0 to 10. What a packet load leaves alone is 6 and above; 10 is the end of the stack.
pub(crate) type Register = u8;

/// A place in the program, given before it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Label(usize);

/// How wide a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Width {
    Word = 0x00,
    Half = 0x08,
    Byte = 0x10,
}

impl Width {
    /// That of so many bytes: 1, 2 or 4.
    pub(crate) const fn of(len: u8) -> Self {
        match len {
            1 => Self::Byte,
            2 => Self::Half,
            _ => Self::Word,
        }
    }
}

/// A comparison of unsigned numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Relation {
    Equal = 0x10,
    Greater = 0x20,
    AtLeast = 0x30,
    NotEqual = 0x50,
    Less = 0xA0,
    AtMost = 0xB0,
}

/// An arithmetic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Arithmetic {
    Add = 0x00,
    Subtract = 0x10,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Move = 0xB0,
}

/// Parts of an operation's number.
const CLASS_LOAD: u8 = 0x00;
const CLASS_LOAD_MEMORY: u8 = 0x01;
const CLASS_STORE: u8 = 0x03;
const CLASS_ARITHMETIC_32: u8 = 0x04;
const CLASS_JUMP: u8 = 0x05;
const CLASS_JUMP_32: u8 = 0x06;
const CLASS_ARITHMETIC: u8 = 0x07;
const MODE_ABSOLUTE: u8 = 0x20;
const MODE_INDIRECT: u8 = 0x40;
const MODE_MEMORY: u8 = 0x60;
const DOUBLE: u8 = 0x18;
const FROM_REGISTER: u8 = 0x08;
const EXIT: u8 = 0x95;
const CALL: u8 = 0x85;
const TO_BIG_ENDIAN: u8 = 0xDC;
/// In the place of a register: the number is a map's descriptor.
const FROM_DESCRIPTOR: Register = 1;
/// In the place of a register: the number is the descriptor of a map whose first value is meant.
const VALUE_OF_DESCRIPTOR: Register = 2;
const MODE_ATOMIC: u8 = 0xC0;
const STACK: Register = 10;

/// A program under construction.
pub(crate) struct Assembler {
    code: Vec<u64>,
    /// Where each label lies, once that is known.
    places: Vec<Option<usize>>,
    /// Instructions whose distance is still to be filled in.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    pub(crate) const fn new() -> Self {
        Self { code: Vec::new(), places: Vec::new(), jumps: Vec::new() }
    }

    /// A label for a place to come.
    pub(crate) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The label's place is here.
    pub(crate) fn place(&mut self, Label(label): Label) {
        if let Some(place) = self.places.get_mut(label) {
            *place = Some(self.code.len());
        }
    }

    fn push(&mut self, operation: u8, destination: Register, source: Register, offset: i16, number: i32) {
        let registers = destination | source << 4;
        let offset = u64::from(offset as u16) << 16;
        self.code.push(u64::from(operation) | u64::from(registers) << 8 | offset | u64::from(number as u32) << 32);
    }

    /// Packet bytes at an offset into register 0.
    pub(crate) fn load_packet(&mut self, width: Width, offset: i32) {
        self.push(CLASS_LOAD | MODE_ABSOLUTE | width as u8, 0, 0, 0, offset);
    }

    /// Packet bytes at an offset from what a register holds into register 0.
    pub(crate) fn load_packet_from(&mut self, width: Width, base: Register, offset: i32) {
        self.push(CLASS_LOAD | MODE_INDIRECT | width as u8, 0, base, 0, offset);
    }

    /// A word of memory into a register.
    pub(crate) fn load_word(&mut self, destination: Register, base: Register, offset: i16) {
        self.push(CLASS_LOAD_MEMORY | MODE_MEMORY, destination, base, offset, 0);
    }

    /// A word of the stack into a register.
    pub(crate) fn load_stack(&mut self, destination: Register, offset: i16) {
        self.load_word(destination, STACK, offset);
    }

    /// A register's word to the stack.
    pub(crate) fn store_stack(&mut self, offset: i16, source: Register) {
        self.push(CLASS_STORE | MODE_MEMORY, STACK, source, offset, 0);
    }

    /// 64 bits of memory into a register.
    pub(crate) fn load_wide(&mut self, destination: Register, base: Register, offset: i16) {
        self.push(CLASS_LOAD_MEMORY | MODE_MEMORY | DOUBLE, destination, base, offset, 0);
    }

    /// 64 bits of the stack into a register.
    pub(crate) fn load_stack_wide(&mut self, destination: Register, offset: i16) {
        self.load_wide(destination, STACK, offset);
    }

    /// A register's 64 bits to the stack.
    pub(crate) fn store_stack_wide(&mut self, offset: i16, source: Register) {
        self.push(CLASS_STORE | MODE_MEMORY | DOUBLE, STACK, source, offset, 0);
    }

    /// Arithmetic of 32 bits with a number; the upper half becomes 0.
    pub(crate) fn compute(&mut self, operation: Arithmetic, destination: Register, number: u32) {
        self.push(CLASS_ARITHMETIC_32 | operation as u8, destination, 0, 0, number as i32);
    }

    /// Arithmetic of 64 bits with a number below 2^31.
    pub(crate) fn compute_wide(&mut self, operation: Arithmetic, destination: Register, number: u32) {
        self.push(CLASS_ARITHMETIC | operation as u8, destination, 0, 0, number as i32);
    }

    /// Arithmetic of 64 bits between registers.
    pub(crate) fn combine(&mut self, operation: Arithmetic, destination: Register, source: Register) {
        self.push(CLASS_ARITHMETIC | FROM_REGISTER | operation as u8, destination, source, 0, 0);
    }

    /// Turns the bytes of a register's lowest bits round, from network order to the machine's or back.
    pub(crate) fn turn_bytes(&mut self, register: Register, bits: u32) {
        self.push(TO_BIG_ENDIAN, register, 0, 0, bits as i32);
    }

    /// A number of 64 bits into a register.
    pub(crate) fn set_wide(&mut self, destination: Register, number: u64) {
        self.push(DOUBLE, destination, 0, 0, number as u32 as i32);
        self.push(0, 0, 0, 0, (number >> 32) as u32 as i32);
    }

    /// A map, by its descriptor, into a register.
    pub(crate) fn set_map(&mut self, destination: Register, descriptor: i32) {
        self.push(DOUBLE, destination, FROM_DESCRIPTOR, 0, descriptor);
        self.push(0, 0, 0, 0, 0);
    }

    /// The place of an array's first value, by the map's descriptor, into a register.
    pub(crate) fn set_map_value(&mut self, destination: Register, descriptor: i32) {
        self.push(DOUBLE, destination, VALUE_OF_DESCRIPTOR, 0, descriptor);
        self.push(0, 0, 0, 0, 0);
    }

    /// A register's word to memory.
    pub(crate) fn store_word(&mut self, base: Register, offset: i16, source: Register) {
        self.push(CLASS_STORE | MODE_MEMORY, base, source, offset, 0);
    }

    /// A register's 64 bits to memory.
    pub(crate) fn store_wide(&mut self, base: Register, offset: i16, source: Register) {
        self.push(CLASS_STORE | MODE_MEMORY | DOUBLE, base, source, offset, 0);
    }

    /// Adds a register to 64 bits of memory, which others may add to at the same time.
    pub(crate) fn add_shared(&mut self, base: Register, offset: i16, source: Register) {
        self.push(CLASS_STORE | MODE_ATOMIC | DOUBLE, base, source, offset, 0);
    }

    /// Calls one of the kernel's helper functions.
    pub(crate) fn call(&mut self, helper: u32) {
        self.push(CALL, 0, 0, 0, helper as i32);
    }

    /// Goes to a label.
    pub(crate) fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(CLASS_JUMP, 0, 0, 0, 0);
    }

    /// Goes to a label if a register's word compares so with a number.
    pub(crate) fn jump_if(&mut self, register: Register, relation: Relation, number: u32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(CLASS_JUMP_32 | relation as u8, register, 0, 0, number as i32);
    }

    /// Goes to a label if a register holds a pointer that leads nowhere.
    pub(crate) fn jump_if_null(&mut self, register: Register, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(CLASS_JUMP | Relation::Equal as u8, register, 0, 0, 0);
    }

    /// Goes to a label if 64 bits of two registers compare so.
    pub(crate) fn jump_if_wide(&mut self, register: Register, relation: Relation, other: Register, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(CLASS_JUMP | FROM_REGISTER | relation as u8, register, other, 0, 0);
    }

    /// Ends with what register 0 holds.
    pub(crate) fn exit(&mut self) {
        self.push(EXIT, 0, 0, 0, 0);
    }

    /// The program without what is never reached, which a kernel would refuse; `None` if a jump is too far or leads nowhere.
    pub(crate) fn finish(self) -> Option<Vec<u64>> {
        let mut targets = vec![None; self.code.len()];
        for (at, Label(label)) in &self.jumps {
            *targets.get_mut(*at)? = Some(self.places.get(*label).copied().flatten()?);
        }
        let reached = reached(&self.code, &targets)?;
        // Where each instruction comes to lie.
        let mut places = Vec::with_capacity(reached.len());
        let mut count = 0;
        for is_reached in &reached {
            places.push(count);
            count += usize::from(*is_reached);
        }
        let mut code = Vec::with_capacity(count);
        for (at, instruction) in self.code.iter().enumerate().filter(|(at, _)| reached.get(*at) == Some(&true)) {
            let mut instruction = *instruction;
            if let Some(target) = targets.get(at).copied().flatten() {
                // Counted from the instruction behind the jump. All jumps lead forwards.
                let distance = places.get(target)?.checked_sub(code.len() + 1)?;
                instruction |= u64::from(i16::try_from(distance).ok()? as u16) << 16;
            }
            code.push(instruction);
        }
        Some(code)
    }
}

/// Which instructions can be reached from the first one; `None` if that leads out of the program.
fn reached(code: &[u64], targets: &[Option<usize>]) -> Option<Vec<bool>> {
    let mut reached = vec![false; code.len()];
    let mut waiting = vec![0];
    while let Some(at) = waiting.pop() {
        if std::mem::replace(reached.get_mut(at)?, true) {
            continue;
        }
        let operation = *code.get(at)? as u8;
        waiting.extend(targets.get(at).copied().flatten());
        match operation {
            EXIT | CLASS_JUMP => {}
            DOUBLE => {
                *reached.get_mut(at + 1)? = true;
                waiting.push(at + 2);
            }
            _ => waiting.push(at + 1),
        }
    }
    Some(reached)
}
