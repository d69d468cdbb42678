//! A program as text, one instruction a line, for people.
use super::Ebpf;
use std::fmt;

/// What a program does, instruction by instruction: number, operation.
impl fmt::Display for Ebpf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut skips = false;
        for (number, instruction) in self.code.iter().enumerate() {
            if std::mem::take(&mut skips) {
                continue;
            }
            let next = self.code.get(number + 1).copied().unwrap_or(0);
            skips = *instruction as u8 == 0x18;
            writeln!(f, "{number:>5}  {}", text(*instruction, next, number))?;
        }
        Ok(())
    }
}

/// One instruction, which stands at `number`; the one behind it holds the upper half of a wide number.
fn text(instruction: u64, next: u64, number: usize) -> String {
    let operation = instruction as u8;
    let (destination, source) = (instruction >> 8 & 15, instruction >> 12 & 15);
    let offset = (instruction >> 16) as i16;
    let value = (instruction >> 32) as u32;
    let width = match operation & 0x18 {
        0x00 => "u32",
        0x08 => "u16",
        0x10 => "u8",
        _ => "u64",
    };
    let operand = if operation & 8 == 0 { format!("{value:#x}") } else { format!("r{source}") };
    let target = number as i64 + 1 + i64::from(offset);
    match (operation & 7, operation) {
        (_, 0x18) => format!("r{destination} = {:#x}", next & !0xFFFF_FFFF | u64::from(value)),
        (0, _) if operation & 0xE0 == 0x20 => format!("r0 = packet {width}[{value}]"),
        (0, _) => format!("r0 = packet {width}[r{source} + {value}]"),
        (1, _) => format!("r{destination} = *({width} *)(r{source} {offset:+})"),
        (3, _) => format!("*({width} *)(r{destination} {offset:+}) = r{source}"),
        (_, 0x95) => "exit".to_owned(),
        (_, 0x05) => format!("goto {target}"),
        (5 | 6, _) => {
            let register = if operation & 7 == 6 { "w" } else { "r" };
            format!("if {register}{destination} {} {operand} goto {target}", relation(operation))
        }
        (4, _) => format!("w{destination} {} {operand}", arithmetic(operation)),
        _ => format!("r{destination} {} {operand}", arithmetic(operation)),
    }
}

const fn relation(operation: u8) -> &'static str {
    match operation & 0xF0 {
        0x10 => "==",
        0x20 => ">",
        0x30 => ">=",
        0x50 => "!=",
        0xA0 => "<",
        _ => "<=",
    }
}

const fn arithmetic(operation: u8) -> &'static str {
    match operation & 0xF0 {
        0x00 => "+=",
        0x10 => "-=",
        0x40 => "|=",
        0x50 => "&=",
        0x60 => "<<=",
        0x70 => ">>=",
        _ => "=",
    }
}
