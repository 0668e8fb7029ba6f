//! Files that are torn, cut short or changed: what is read is what was once written, or an error.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::TempDir;
use crate::{
    config::ClusterSecret,
    node::{
        Env,
        disk::{
            JournalStorage,
            engine::{Engine, EngineError, Go, KEY_LEN, Part, Storage, Write},
            seal::{Keys, Opener, Sealer},
        },
    },
};

/// What is in an engine after each batch, by its number.
type States = Vec<Records>;

type Records = BTreeMap<[u8; KEY_LEN], Vec<u8>>;

/// Dice that fall the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// Small files, so that there are many, and bases are made.
fn storage() -> JournalStorage {
    JournalStorage {
        log_bytes: 4 << 10,
        least_bytes: 32 << 10,
    }
}

fn keys(is_sealed: bool) -> Keys {
    Keys::new(is_sealed.then(|| ClusterSecret::from_bytes([7; 32])))
}

/// Writes batches of changes to 200 records, until there are a base and logs. Returns what was there
/// after each.
fn write(directory: &Path, is_sealed: bool) -> States {
    let mut sealer = Sealer::new(keys(is_sealed), Env::default().random);
    let mut dice = Dice(1);
    let mut states: States = vec![Records::new()];
    let mut write = |engine: &mut Box<dyn Engine>, states: &mut States| {
        let mut state = states[states.len() - 1].clone();
        let mut batch = Vec::new();
        for _ in 0..8 {
            let mut key = [1; KEY_LEN];
            key[KEY_LEN - 1] = dice.below(200) as u8;
            let plain = vec![dice.below(256) as u8; 20 + dice.below(200)];
            let value = (dice.below(5) > 0).then(|| sealer.seal(&key, &plain));
            match value {
                Some(_) => state.insert(key, plain),
                None => state.remove(&key),
            };
            batch.push(Write { key, value });
        }
        engine.write(&batch).expect("room");
        engine.sync().expect("a disk");
        states.push(state);
    };
    let mut engine = storage().open(directory, 0).expect("new");
    while !files(directory).iter().any(|file| is_base(file)) {
        write(&mut engine, &mut states);
        assert!(states.len() < 10_000, "no base is ever made");
    }
    drop(engine);
    // This start removes what the base has taken the place of, and makes no other.
    let sizes = JournalStorage {
        log_bytes: storage().log_bytes,
        ..JournalStorage::default()
    };
    let mut engine = sizes.open(directory, 0).expect("an engine");
    for _ in 0..10 {
        write(&mut engine, &mut states);
    }
    states
}

fn is_base(file: &Path) -> bool {
    file.extension().is_some_and(|kind| kind == "base")
}

/// Reads all records, and returns them with the number of the last batch.
fn read(engine: &dyn Engine, keys: &Keys) -> Result<(usize, Records), String> {
    let mut found = Records::new();
    for part in [Part { number: 0, of: 2 }, Part { number: 1, of: 2 }] {
        let mut opener = Opener::new(keys.clone());
        let mut failed = None;
        let ended = engine.read(part, &mut |key, record| {
            match opener.open(key, record) {
                Ok(opened) => {
                    let before = found.insert(*key, opened.plain.to_vec());
                    assert_eq!(before, None, "a record was passed on twice");
                }
                Err(error) => failed = Some(format!("{error:?}")),
            }
            Go::On
        });
        ended.map_err(|error| error.to_string())?;
        failed.map_or(Ok(()), Err)?;
    }
    for (key, plain) in &found {
        let record = engine.record(key).map_err(|error| error.to_string())?;
        let mut opener = Opener::new(keys.clone());
        let opened = opener.open(key, &record.expect("it was passed on"));
        assert_eq!(opened.expect("it was opened before").plain, plain);
    }
    let other = engine.record(&[0xff; KEY_LEN]);
    assert_eq!(other.map_err(|error| error.to_string())?, None);
    let last = usize::try_from(engine.last_batch()).expect("small");
    Ok((last, found))
}

/// All files below a directory, the longest names last.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("it is there") {
        let path = entry.expect("it is there").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Changes one file so. Returns what was done.
fn damage(file: &Path, dice: &mut Dice) -> String {
    let mut bytes = fs::read(file).expect("it is there");
    let what = match dice.below(4) {
        _ if bytes.is_empty() => "nothing".to_owned(),
        0 => {
            let length = dice.below(bytes.len());
            bytes.truncate(length);
            format!("cut at {length}")
        }
        1 => {
            let at = dice.below(bytes.len());
            let end = (at + 1 + dice.below(4096)).min(bytes.len());
            bytes[at..end].fill(0);
            format!("zeros from {at} to {end}")
        }
        2 => {
            let at = dice.below(bytes.len());
            let end = (at + 1 + dice.below(64)).min(bytes.len());
            for byte in &mut bytes[at..end] {
                *byte = dice.below(256) as u8;
            }
            format!("noise from {at} to {end}")
        }
        _ => {
            let bit = dice.below(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            format!("bit {bit} flipped")
        }
    };
    fs::write(file, bytes).expect("room");
    what
}

#[test]
fn what_is_read_of_damaged_files_was_written_or_is_an_error() {
    for is_sealed in [true, false] {
        let temp = TempDir::new();
        let directory = temp.at("engine");
        fs::create_dir(&directory).expect("ours");
        let states = write(&directory, is_sealed);
        let keys = keys(is_sealed);
        let names = files(&directory);
        let batches = states.len() - 1;
        let (mut before, mut errors) = (0, 0);
        for run in 0..RUNS {
            let mut dice = Dice(run as u64);
            // What is there after a power cut: the file of the number is not synced.
            let written = [0, batches as u64][run % 2];
            let name = &names[dice.below(names.len())];
            let bytes = fs::read(name).expect("it is there");
            let what = damage(name, &mut dice);
            let opened = storage().open(&directory, written);
            let opened = opened.map_err(|error| error.to_string());
            match opened.and_then(|engine| read(&*engine, &keys)) {
                Ok((last, records)) => {
                    let shown = name.display();
                    assert_eq!(records, states[last], "{run}: {shown} {what}: batch {last}");
                    assert!(
                        last as u64 >= written,
                        "{run}: {shown} {what}: batch {last}"
                    );
                    before += usize::from(last < batches);
                }
                Err(error) => {
                    assert!(error.len() > 5);
                    errors += 1;
                }
            }
            fs::write(name, bytes).expect("room");
        }
        println!("sealed {is_sealed}: {errors} errors, {before} states before, of {RUNS}");
        assert!(errors > RUNS / 2 && before > 0, "{errors}, {before}");
    }
}

#[test]
fn every_cut_of_the_last_log_gives_the_batches_before_it() {
    let temp = TempDir::new();
    let directory = temp.at("engine");
    fs::create_dir(&directory).expect("ours");
    let states = write(&directory, true);
    let names = files(&directory);
    let newest = names.last().expect("a log");
    let bytes = fs::read(newest).expect("it is there");
    let mut lasts = Vec::new();
    for length in (0..bytes.len()).rev().step_by(7) {
        fs::write(newest, &bytes[..length]).expect("room");
        let engine = storage().open(&directory, 0).expect("a torn tail");
        let (last, records) = read(&*engine, &keys(true)).expect("what was written");
        assert_eq!(records, states[last]);
        lasts.push(last);
    }
    assert!(lasts.is_sorted_by(|later, earlier| later >= earlier));
    assert_eq!(lasts[0], states.len() - 2);
}

#[test]
fn batch_behind_a_torn_one_tells_damage_from_a_power_cut() {
    let temp = TempDir::new();
    let directory = temp.at("engine");
    fs::create_dir(&directory).expect("ours");
    let sizes = JournalStorage::default();
    let mut engine = sizes.open(&directory, 0).expect("new");
    let value = vec![7; 100];
    let batch = [Write {
        key: [1; KEY_LEN],
        value: Some(value),
    }];
    for _ in 0..3 {
        engine.write(&batch).expect("room");
        engine.sync().expect("a disk");
    }
    drop(engine);
    let names = files(&directory);
    let [log] = names.as_slice() else {
        panic!("{names:?}");
    };
    let mut bytes = fs::read(log).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(log, &bytes).expect("room");
    let error = sizes.open(&directory, 0).err().expect("damaged");
    assert!(
        matches!(&error, EngineError::Damaged(what) if what.contains(".log")),
        "{error}"
    );
    assert_eq!(
        fs::read(log).expect("it is there"),
        bytes,
        "nothing was cut off"
    );
}

#[test]
fn files_that_are_missing_are_missed() {
    let temp = TempDir::new();
    let directory = temp.at("engine");
    fs::create_dir(&directory).expect("ours");
    let batches = write(&directory, true).len() as u64 - 1;
    for name in files(&directory) {
        let away = temp.at("away");
        fs::rename(&name, &away).expect("ours");
        let error = storage().open(&directory, batches).err();
        let error = error.unwrap_or_else(|| panic!("{} is not missed", name.display()));
        assert!(error.to_string().contains("missing"), "{error}");
        fs::rename(&away, &name).expect("ours");
    }
    storage().open(&directory, batches).expect("all are there");
}

#[test]
fn endless_changes_take_bounded_room() {
    let temp = TempDir::new();
    let sizes = storage();
    let mut engine = sizes.open(temp.path(), 0).expect("new");
    let (mut written, mut most) = (0, 0);
    let mut dice = Dice(5);
    while written < 2 << 20 {
        let mut key = [1; KEY_LEN];
        key[0] = dice.below(20) as u8;
        let value = vec![dice.below(256) as u8; 2000];
        written += value.len();
        let value = Some(value);
        engine.write(&[Write { key, value }]).expect("room");
        engine.sync().expect("a disk");
        let files = files(temp.path());
        // A compaction removes some meanwhile.
        let lengths = files.iter().flat_map(fs::metadata);
        most = most.max(lengths.map(|metadata| metadata.len()).sum());
    }
    // Two bases at most, the logs that become one, and those that are written meanwhile.
    let live = 20 * 2040;
    println!("{written} bytes of changes to {live} took {most}");
    assert!(most < 4 * live + 2 * sizes.least_bytes, "{most}");
}

const RUNS: usize = 300;
