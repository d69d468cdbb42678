//! An interpreter of the few instructions that programs consist of, and what a kernel asks of them before it takes them.

/// Runs a program on a packet; `None` if it does what a kernel would refuse: no such instruction, a read of what was
/// never written, a jump that leads out.
pub(super) fn run(code: &[u64], packet: &[u8]) -> Option<u64> {
    let mut registers: [Option<u64>; 11] = [None; 11];
    registers[1] = Some(0);
    let mut stack: [Option<u8>; 64] = [None; 64];
    let mut at = 0_usize;
    loop {
        let instruction = *code.get(at)?;
        at += 1;
        let operation = instruction as u8;
        let (destination, source) = ((instruction >> 8 & 15) as usize, (instruction >> 12 & 15) as usize);
        let offset = (instruction >> 16) as i16;
        let number = (instruction >> 32) as u32;
        let size = match operation & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => 8,
        };
        let wide_number = i64::from(number as i32) as u64;
        match operation & 7 {
            0 if operation == 0x18 => {
                registers[destination] = Some(*code.get(at)? & !0xFFFF_FFFF | u64::from(number));
                at += 1;
            }
            0 => {
                registers[6]?;
                let base = if operation & 0xE0 == 0x40 { registers[source]? } else { 0 };
                let start = usize::try_from(base.checked_add(number.into())?).ok()?;
                registers[..6].fill(None);
                // Beyond the packet the program ends.
                let Some(bytes) = packet.get(start..start + size) else { return Some(0) };
                registers[0] = Some(bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)));
            }
            1 if source == 10 => {
                let start = usize::try_from(64 + i64::from(offset)).ok()?;
                let mut value = 0;
                for place in (start..start + size).rev() {
                    value = value << 8 | u64::from((*stack.get(place)?)?);
                }
                registers[destination] = Some(value);
            }
            1 => registers[destination] = (registers[6] == Some(0) && offset == 0).then_some(packet.len() as u64),
            3 => {
                let start = usize::try_from(64 + i64::from(offset)).ok()?;
                let value = registers[source]?;
                for (place, byte) in (start..start + size).zip(value.to_le_bytes()) {
                    *stack.get_mut(place)? = Some(byte);
                }
            }
            4 | 7 => {
                let is_narrow = operation & 7 == 4;
                let other = if operation & 8 == 0 { wide_number } else { registers[source]? };
                let own = || registers[destination];
                let shift = if is_narrow { other & 31 } else { other & 63 };
                let value = match operation & 0xF0 {
                    0x00 => own()?.wrapping_add(other),
                    0x10 => own()?.wrapping_sub(other),
                    0x40 => own()? | other,
                    0x50 => own()? & other,
                    0x60 => own()? << shift,
                    0x70 if is_narrow => u64::from(own()? as u32 >> shift),
                    0x70 => own()? >> shift,
                    0xB0 => other,
                    _ => return None,
                };
                registers[destination] = Some(if is_narrow { u64::from(value as u32) } else { value });
            }
            _ if operation == 0x95 => return registers[0],
            class => {
                let is_narrow = class == 6;
                let cut = |value: u64| if is_narrow { u64::from(value as u32) } else { value };
                let jumps = if operation == 0x05 {
                    true
                } else {
                    let own = cut(registers[destination]?);
                    let other = cut(if operation & 8 == 0 { wide_number } else { registers[source]? });
                    match operation & 0xF0 {
                        0x10 => own == other,
                        0x20 => own > other,
                        0x30 => own >= other,
                        0x50 => own != other,
                        0xA0 => own < other,
                        0xB0 => own <= other,
                        _ => return None,
                    }
                };
                if jumps {
                    at = usize::try_from(at as i64 + i64::from(offset)).ok()?;
                }
            }
        }
    }
}

/// Whether a kernel finds every instruction reached.
pub(super) fn is_all_reached(code: &[u64]) -> bool {
    let mut reached = vec![false; code.len()];
    let mut waiting = vec![0];
    while let Some(at) = waiting.pop() {
        if std::mem::replace(&mut reached[at], true) {
            continue;
        }
        let (operation, target) = (code[at] as u8, at as i64 + 1 + i64::from((code[at] >> 16) as i16));
        if matches!(operation & 7, 5 | 6) && operation != 0x95 {
            waiting.push(usize::try_from(target).unwrap());
        }
        match operation {
            0x95 | 0x05 => {}
            0x18 => {
                reached[at + 1] = true;
                waiting.push(at + 2);
            }
            _ => waiting.push(at + 1),
        }
    }
    reached.iter().all(|is_reached| *is_reached)
}
