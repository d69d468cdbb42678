//! The fuzz targets on a stable compiler: every file of their corpora and every old crash, as it is and changed in small ways,
//! always the same ones.
//!
//! `make fuzz` runs them for real.
use crate::fuzz_checks::{check_capture, check_engines_agree, check_filter_object, check_filter_text, check_packet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Changed copies of each file.
const MUTATIONS: u64 = 64;

/// The files of a target's folder, in the order of their names.
fn files(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder).join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a folder that can be read").path()).collect();
    files.sort();
    files
}

/// A generator of numbers for the changes (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Some small changes: bits, bytes, lengths, repetitions.
fn mutate(data: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(data.len());
        let end = (at + 1 + numbers.below(8)).min(data.len());
        match numbers.below(6) {
            0 => data.truncate(at),
            1 => data.insert(at.min(data.len()), numbers.next() as u8),
            2 => drop(data.drain(at.min(end)..end)),
            3 => {
                let piece = data[at.min(end)..end].to_vec();
                data.splice(end..end, piece);
            }
            kind => {
                if let Some(byte) = data.get_mut(at) {
                    *byte =
                        if kind == 4 { *byte ^ 1 << numbers.below(8) } else { [0, 1, 0x7F, 0xFF][numbers.below(4)] };
                }
            }
        }
    }
}

/// What is being checked; tells itself when the check panics.
struct Input {
    path: PathBuf,
    data: Vec<u8>,
}

impl Drop for Input {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}, as {}", self.path.display(), self.data.escape_ascii());
        }
    }
}

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = files("corpus", target);
    assert!(corpus.len() >= 10, "the corpus of {target} is there");
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for path in corpus.into_iter().chain(files("crashes", target)) {
        let mut input = Input { path, data: Vec::new() };
        let whole = fs::read(&input.path).expect("a file that can be read");
        for mutation in 0..=MUTATIONS {
            input.data.clone_from(&whole);
            if mutation > 0 {
                mutate(&mut input.data, &mut numbers);
            }
            check(&input.data);
        }
    }
}

#[test]
fn packets_of_the_corpus_are_handled() {
    replay("packet", check_packet);
}

#[test]
fn filter_texts_of_the_corpus_are_handled() {
    replay("filter_text", check_filter_text);
}

#[test]
fn filter_objects_of_the_corpus_are_handled() {
    replay("filter_object", check_filter_object);
}

#[test]
fn engines_agree_on_the_corpus() {
    replay("engines_agree", check_engines_agree);
}

#[test]
fn captures_of_the_corpus_are_handled() {
    replay("capture", check_capture);
}
