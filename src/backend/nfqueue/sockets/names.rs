//! What processes are called that sockets are told of: looked up as soon as an event tells of a process, so that its name and
//! path are known when it is gone.
//!
//! Where it is gone already, the name that the event told is left, which is a thread's, cut after 15 bytes.
use super::owner::described;
use super::record::{NAME_LEN, Record, kind};
use crate::backend::Process;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer counts: a process may run another program, and its number is used again when it has ended.
const TRUSTED: Duration = Duration::from_secs(10);
/// Processes after which the older half is forgotten.
const GENERATION: usize = 4096;

/// What a thread is called.
type ThreadName = [u8; NAME_LEN];

/// Names of processes; each clone tells of the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<Mutex<Book>>);

impl Names {
    /// Takes in what a record tells of whoever runs. A process that is known is not looked up again.
    pub(crate) fn take_in(&self, record: &Record, now: Instant) {
        // Whoever closes a socket last may be on the way out, and has done nothing else with it.
        if record.process != 0 && record.kind != kind::CLOSE {
            self.book().meet(&Sighting::of(record), now, described);
        }
    }

    /// Takes in a process that was found without an event.
    pub(crate) fn meet(&self, id: u32, now: Instant) {
        if id != 0 {
            self.book().meet(&Sighting { process: id, first: None, any: None }, now, described);
        }
    }

    /// A process with name and path, as far as they are told or were known when it was met.
    pub(crate) fn process(&self, id: u32) -> Process {
        let known = self.book().get(id).map(|known| (known.process.clone(), known.looked_up));
        match known {
            None => described(id),
            Some((process, looked_up)) if looked_up.elapsed() < TRUSTED => process,
            Some((process, _)) => Some(described(id)).filter(|told| told.path.is_some()).unwrap_or(process),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an event tells of whoever does something with a socket.
struct Sighting {
    process: u32,
    /// What the process's first thread is called, if it is the one that runs; it changes with the program.
    first: Option<ThreadName>,
    /// What the thread that runs is called.
    any: Option<ThreadName>,
}

impl Sighting {
    fn of(record: &Record) -> Self {
        let any = Some(record.name).filter(|name| name.first() != Some(&0));
        Self { process: record.process, first: any.filter(|_| record.thread == record.process), any }
    }
}

/// What is known of a process.
#[derive(Debug)]
struct Known {
    process: Process,
    /// What its first thread was called, if that was told.
    first: Option<ThreadName>,
    looked_up: Instant,
}

/// Two generations of processes: of those that were met lately none is forgotten.
#[derive(Debug, Default)]
struct Book {
    young: HashMap<u32, Known>,
    old: HashMap<u32, Known>,
}

impl Book {
    fn get(&self, id: u32) -> Option<&Known> {
        self.young.get(&id).or_else(|| self.old.get(&id))
    }

    fn meet(&mut self, sighting: &Sighting, now: Instant, look_up: impl Fn(u32) -> Process) {
        let id = sighting.process;
        let before = self.young.remove(&id).or_else(|| self.old.remove(&id));
        let known = match before {
            Some(known) if known.is_trusted(sighting, now) => known,
            // Another program, so that nothing of the old one counts.
            Some(known) if known.first.is_some() && sighting.first.is_some_and(|first| known.first != Some(first)) => {
                Known::found(sighting, now, look_up(id), None)
            }
            before => Known::found(sighting, now, look_up(id), before),
        };
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, known);
    }
}

impl Known {
    fn is_trusted(&self, sighting: &Sighting, now: Instant) -> bool {
        now.saturating_duration_since(self.looked_up) < TRUSTED
            && sighting.first.is_none_or(|first| self.first == Some(first))
    }

    /// What is known of a process now: what the system tells, what was known before, what the event told.
    fn found(sighting: &Sighting, now: Instant, told: Process, before: Option<Self>) -> Self {
        let (before, first) = before.map_or((None, None), |known| (Some(known.process), known.first));
        let first = sighting.first.or(first);
        let process = match before {
            _ if told.path.is_some() => told,
            Some(before) if before.path.is_some() => before,
            before => {
                let before = before.and_then(|before| before.name);
                let told_by_event = || sighting.any.as_ref().map(text);
                let name = told.name.or_else(|| first.as_ref().map(text)).or(before).or_else(told_by_event);
                Process { name, ..told }
            }
        };
        Self { process, first, looked_up: now }
    }
}

/// What comes before the zero.
fn text(name: &ThreadName) -> String {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME_LEN);
    String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u32 = 100;

    fn name(text: &str) -> ThreadName {
        let mut name = [0; NAME_LEN];
        for (place, byte) in name.iter_mut().zip(text.bytes().take(NAME_LEN - 1)) {
            *place = byte;
        }
        name
    }

    fn first(process: u32, text: &str) -> Sighting {
        Sighting { process, first: Some(name(text)), any: Some(name(text)) }
    }

    fn another(process: u32, text: &str) -> Sighting {
        Sighting { process, first: None, any: Some(name(text)) }
    }

    fn living(path: &str) -> impl Fn(u32) -> Process {
        let name = path.rsplit('/').next().map(str::to_owned);
        move |id| Process { id, name: name.clone(), path: Some(path.to_owned()) }
    }

    fn never(id: u32) -> Process {
        unreachable!("process {id} is known")
    }

    /// What is known of a process: name and path.
    fn known(book: &Book, id: u32) -> Option<(Option<&str>, Option<&str>)> {
        let process = &book.get(id)?.process;
        assert_eq!(process.id, id);
        Some((process.name.as_deref(), process.path.as_deref()))
    }

    #[test]
    fn a_process_is_looked_up_once() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.meet(&first(ID, "curl"), now, living("/usr/bin/curl"));
        for later in [Duration::ZERO, TRUSTED / 2, TRUSTED.saturating_sub(Duration::from_millis(1))] {
            book.meet(&first(ID, "curl"), now + later, never);
            book.meet(&another(ID, "worker"), now + later, never);
        }
        assert_eq!(known(&book, ID), Some((Some("curl"), Some("/usr/bin/curl"))));
        assert_eq!(known(&book, ID + 1), None);
    }

    #[test]
    fn another_program_in_the_same_process_is_looked_up() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.meet(&first(ID, "sh"), now, living("/bin/sh"));
        book.meet(&first(ID, "curl"), now, living("/usr/bin/curl"));
        assert_eq!(known(&book, ID), Some((Some("curl"), Some("/usr/bin/curl"))));
        // Gone by now: nothing of what ran before is its.
        book.meet(&first(ID, "wget"), now, Process::from_id);
        assert_eq!(known(&book, ID), Some((Some("wget"), None)));
    }

    #[test]
    fn a_process_that_is_gone_has_the_name_that_the_event_told() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.meet(&another(ID, "worker"), now, Process::from_id);
        assert_eq!(known(&book, ID), Some((Some("worker"), None)));
        book.meet(&first(ID, "a-very-long-program-name"), now, Process::from_id);
        assert_eq!(known(&book, ID), Some((Some("a-very-long-pro"), None)));
        book.meet(&another(ID, "other"), now + TRUSTED, Process::from_id);
        assert_eq!(known(&book, ID), Some((Some("a-very-long-pro"), None)));
    }

    #[test]
    fn an_answer_is_renewed_and_stays_when_there_is_none() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.meet(&another(ID, "worker"), now, living("/bin/old"));
        book.meet(&another(ID, "worker"), now + TRUSTED, living("/bin/new"));
        assert_eq!(known(&book, ID), Some((Some("new"), Some("/bin/new"))));
        // A process that waits to be reaped has a name left, but no path.
        let ended = |id| Process { id, name: Some("new".to_owned()), path: None };
        book.meet(&another(ID, "worker"), now + TRUSTED * 2, ended);
        book.meet(&first(ID, "new"), now + TRUSTED * 2, Process::from_id);
        assert_eq!(known(&book, ID), Some((Some("new"), Some("/bin/new"))));
    }

    #[test]
    fn what_is_remembered_has_a_bound_and_what_is_met_again_stays() {
        let (mut book, now) = (Book::default(), Instant::now());
        let last = 3 * GENERATION as u32;
        for id in 1..=last {
            book.meet(&first(id, "curl"), now, living("/usr/bin/curl"));
            book.meet(&first(1, "curl"), now, living("/usr/bin/curl"));
        }
        assert!(book.young.len() <= GENERATION && book.old.len() <= GENERATION);
        assert!(known(&book, 1).is_some());
        assert!(known(&book, 2).is_none());
        assert!((last - GENERATION as u32 + 1..=last).all(|id| known(&book, id).is_some()));
    }

    #[test]
    fn a_record_tells_of_whoever_runs_unless_it_is_about_a_close() {
        let names = Names::default();
        let end = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        // No process has the number: it is above what the kernel gives.
        let record = Record {
            cookie: 1,
            namespace: 1,
            process: u32::MAX - 1,
            kind: kind::CLOSE,
            protocol: 6,
            local: end,
            remote: None,
            state: 0,
            thread: u32::MAX - 1,
            name: name("short"),
        };
        names.take_in(&record, Instant::now());
        assert_eq!(names.process(record.process), Process::from_id(record.process));
        names.take_in(&Record { kind: kind::BIND, ..record }, Instant::now());
        let told = Process { id: record.process, name: Some("short".to_owned()), path: None };
        assert_eq!(names.process(record.process), told);
    }

    #[test]
    fn a_process_that_no_event_told_of_is_looked_up_when_asked() {
        let path = std::env::current_exe().ok().and_then(|path| path.to_str().map(str::to_owned));
        let own = std::process::id();
        let names = Names::default();
        assert_eq!(names.process(own).path, path);
        names.meet(own, Instant::now());
        assert_eq!(names.process(own).path, path);
        assert!(names.book().get(own).is_some());
    }
}
