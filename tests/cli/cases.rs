//! Small networks and data that were once answered wrongly or refused, with the right values: they lie beside the repository.
//!
//! A case is right where the result is; one that stands for a missing feature also where it is refused honestly (exit code 3, and words that name
//! what is missing).

use crate::support::npy;
use npyz::npz::{NpzArchive, file_name_from_array_name};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tempfile::TempDir;

/// Messages that were found to be untrue.
const UNTRUE: [&str; 7] = [
    "is defined nowhere",
    "on constants",
    "an extent of zero",
    "Clip with 3 inputs",
    "Impossible to unify",
    "thread pool has already",
    "must be unique",
];

/// How a case ended that is not wrong; the error says what is wrong.
enum End {
    Right,
    Refused,
}

type Outcome = Result<End, String>;

struct Said {
    code: i32,
    out: String,
    err: String,
    seconds: f64,
}

impl Said {
    fn json(&self) -> Value {
        self.out.trim().lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null)
    }

    /// Everything that was said about a refusal.
    fn reasons(&self) -> String {
        format!("{} | {}", self.out, self.err)
    }

    fn last(&self) -> String {
        let text = if self.err.trim().is_empty() { &self.out } else { &self.err };
        text.trim().lines().last().unwrap_or_default().chars().take(200).collect()
    }
}

/// One case with a folder to work in.
struct Case {
    about: Value,
    shared: PathBuf,
    work: TempDir,
}

pub(crate) fn shared() -> Option<PathBuf> {
    let root = std::env::var_os("RELEQC_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let found = root.join("cases/cases.json").exists();
    let required = std::env::var_os("RELEQC_REQUIRE_SHARED").is_some_and(|value| value == "1");
    assert!(found || !required, "{} is absent", root.display());
    if !found {
        // Past the capture of test output: a skipped test must be seen.
        let _ = writeln!(std::io::stderr(), "skipped: {} is absent", root.display());
    }
    found.then_some(root)
}

#[test]
fn every_case_is_right_or_honestly_refused() {
    let Some(shared) = shared() else { return };
    let text = fs::read_to_string(shared.join("cases/cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(about) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let case = Case { about: about.clone(), shared: shared.clone(), work: tempfile::tempdir().unwrap() };
            match case.run() {
                Ok(End::Right) => {}
                Ok(End::Refused) if case.text("class") == "gap" || case.about.get("refuse").is_some() => {}
                Ok(End::Refused) => wrong.lock().unwrap().push(format!("{}: refused", case.text("id"))),
                Err(what) => wrong.lock().unwrap().push(format!("{} ({}): {what}", case.text("id"), case.text("kind"))),
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} cases are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

impl Case {
    fn text(&self, key: &str) -> &str {
        self.about[key].as_str().unwrap_or_default()
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.about[key].as_f64()
    }

    fn is(&self, key: &str) -> bool {
        self.about[key] == true
    }

    fn file(&self, name: &str) -> PathBuf {
        self.shared.join("cases").join(name)
    }

    fn here(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn flags(&self) -> Vec<OsString> {
        let flags = self.about["flags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let flag = |flag: &str| flag.strip_prefix('@').map_or_else(|| flag.into(), |name| self.file(name).into());
        flags.map(flag).collect()
    }

    fn call<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Said {
        self.call_with(words, &[])
    }

    /// Calls the binary with at most 6 GiB of memory.
    fn call_with<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>, env: &[(String, String)]) -> Said {
        let start = Instant::now();
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 6291456; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_releqc")]).args(words);
        command.envs(env.iter().cloned()).current_dir(self.work.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
            seconds: start.elapsed().as_secs_f64(),
        }
    }

    fn run(&self) -> Outcome {
        match self.text("type") {
            "value" => self.value(),
            "refuse" => self.refuse(),
            "annotated" => self.annotated(),
            "data" => self.data(),
            "f32note" => self.f32note(),
            "flat" => self.flat(),
            "utf8" => self.utf8(),
            "mode" => self.mode(),
            "colour" => self.colour(),
            "retrain" => self.retrain(),
            other => Err(format!("no check for type {other:?}")),
        }
    }

    /// A refusal with the right code that says what the case allows.
    fn refusal(&self, said: &Said, what: &str) -> Outcome {
        let text = said.reasons();
        let fail = |about: &str| Err(format!("{what}: exit {}, {about}: {}", said.code, said.last()));
        if let Some(untrue) = UNTRUE.iter().find(|untrue| text.contains(*untrue)) {
            return fail(&format!("untrue ({untrue})"));
        }
        match self.about["refuse"].as_str() {
            None => fail("a result is right"),
            Some(_) if said.code != 3 => fail("3 or a result is right"),
            Some(pattern) if !names(&text, pattern) => fail("but does not name it"),
            Some(_) => Ok(End::Refused),
        }
    }

    /// The JSON object of a compilation and what was said, after a check that agrees; a refusal otherwise.
    fn compiled(&self) -> Result<Result<(Value, String), End>, String> {
        let model = self.file(self.text("model")).into_os_string();
        let flags = self.flags();
        let shape = flags.iter().position(|flag| flag == "--shape").map(|at| flags[at..at + 2].to_vec());
        let mut check = vec!["check".into(), model.clone(), "--json".into()];
        check.extend(shape.unwrap_or_default());
        let checked = self.call(check);
        let how = if self.is("search") { ["--episodes", "6"] } else { ["--bits", "8"] };
        let mut words: Vec<OsString> = vec![model, "-o".into(), self.here("a.rq").into()];
        words.extend(["--threads", "1", "--json"].iter().chain(&how).map(OsString::from));
        words.extend(flags);
        let compiled = self.call(words);
        if checked.code != 0 {
            if compiled.code == 0 {
                return Err(format!("check: exit {}, but compile: exit 0: {}", checked.code, checked.last()));
            }
            return self.refusal(&checked, "check").map(Err);
        }
        if ![0, 4].contains(&compiled.code) {
            return Err(format!("check: exit 0, but compile: exit {}: {}", compiled.code, compiled.last()));
        }
        Ok(Ok((compiled.json(), compiled.err)))
    }

    fn value(&self) -> Outcome {
        let arrays = arrays(&self.file(self.text("npz")));
        let (report, mut notes) = match self.compiled()? {
            Ok(compiled) => compiled,
            Err(end) => return Ok(end),
        };
        let mut inputs: Vec<OsString> = Vec::new();
        for (index, array) in arrays.iter().filter(|array| array.name.starts_with('x')).enumerate() {
            let file = format!("x{index}.npy");
            fs::write(self.here(&file), array.input()).unwrap();
            let name = self.about["inputs"][index].as_str().map_or(String::new(), |name| format!("{name}="));
            inputs.extend(["--input".into(), format!("{name}{file}").into()]);
        }
        let mut results: Vec<Vec<Array>> = Vec::new();
        for executor in ["cpu", "reference", "accelerator"] {
            let file = format!("y.{executor}.npy");
            let mut words: Vec<OsString> = vec!["run".into(), "a.rq".into()];
            words.extend(inputs.clone());
            words.extend(["--output", &file, "--executor", executor, "--threads", "1", "--json"].map(OsString::from));
            let ran = self.call(words);
            if ran.code != 0 {
                return Err(format!("run, {executor}: exit {}: {}", ran.code, ran.last()));
            }
            notes.push_str(&ran.err);
            let report = ran.json();
            let files = report["outputs"].as_array().into_iter().flatten().filter_map(|output| output["file"].as_str());
            results.push(files.map(|file| Array::parse("y", fs::read(self.here(file)).unwrap())).collect());
        }
        let bytes = |results: &[Array]| results.iter().map(|array| array.bytes.clone()).collect::<Vec<_>>();
        if results[1..].iter().any(|other| bytes(other) != bytes(&results[0])) {
            return Err("the executors differ".into());
        }
        let wanted: Vec<&Array> = arrays.iter().filter(|array| array.name.starts_with('y')).collect();
        let got = &results[0];
        if got.len() != wanted.len() {
            return Err(format!("{} outputs, {} are right", got.len(), wanted.len()));
        }
        let mut worst = f64::INFINITY;
        for (wanted, got) in wanted.iter().zip(got) {
            let (want, have) = (wanted.values(), got.values());
            if want.len() != have.len() {
                return Err(format!("output of {:?}, {:?} is right", got.dims, wanted.dims));
            }
            worst = worst.min(decibel(&want, &have));
        }
        let (metric, figure) = (&report["accuracy"]["metric"], report["accuracy"]["quantized"].as_f64().unwrap_or(1.0));
        let blind = metric == "agreement" || metric == "top1";
        let enough = self.number("min_db").unwrap_or(0.0);
        if worst < enough {
            let told = format!("{notes}{}{}", report["assumptions"], report["warnings"]);
            let told = ["saturat", "outside the", "means nothing"].iter().any(|word| told.contains(word));
            let low = if blind { figure < 0.5 } else { figure < 20.0 };
            if self.is("says_so") && (told || low) {
                return Ok(End::Right);
            }
            return Err(format!("{worst:.1} dB, {enough} are right; the tool says {metric} {figure}"));
        }
        if self.is("metric") && blind && (figure < 0.5 || wanted.len() > 1) {
            return Err(format!("{worst:.1} dB, but the tool says {metric} {figure}"));
        }
        match wanted.iter().zip(got).find(|(wanted, got)| wanted.dims != got.dims) {
            Some((wanted, got)) => Err(format!("{worst:.1} dB, but {:?}, {:?} is right", got.dims, wanted.dims)),
            None => Ok(End::Right),
        }
    }

    fn refuse(&self) -> Outcome {
        let model = self.file(self.text("model"));
        let check = self.call([OsStr::new("check"), model.as_os_str(), OsStr::new("--json")]);
        let flags = ["--bits", "8", "-o", "a.rq", "--threads", "1", "--json"].map(OsStr::new);
        let compile = self.call([model.as_os_str()].into_iter().chain(flags));
        for (what, said) in [("check", check), ("compile", compile)] {
            let allowed = self.about["codes"].as_array().is_some_and(|codes| codes.contains(&said.code.into()));
            if !allowed || !names(&said.reasons(), self.text("text")) {
                return Err(format!("{what}: exit {}: {}", said.code, said.last()));
            }
            if said.seconds > self.number("seconds").unwrap_or(f64::INFINITY) {
                return Err(format!("{what}: {:.0} s", said.seconds));
            }
        }
        Ok(End::Right)
    }

    fn annotated(&self) -> Outcome {
        let model = self.file(self.text("model"));
        let flags = ["--bits", "4", "-o", "1.rq", "--annotated", "a.onnx", "--json"].map(OsStr::new);
        let said = self.call([model.as_os_str()].into_iter().chain(flags));
        if said.code != 0 {
            return self.refusal(&said, "compile");
        }
        let said = self.call(["a.onnx", "-o", "2.rq", "--json"]);
        if said.code != 0 {
            return Err(format!("the annotated file is not read back: exit {}: {}", said.code, said.last()));
        }
        let same = fs::read(self.here("1.rq")).unwrap() == fs::read(self.here("2.rq")).unwrap();
        if same { Ok(End::Right) } else { Err("the annotated file compiles to other bytes".into()) }
    }

    fn data(&self) -> Outcome {
        copy(&self.file(self.text("data")), &self.here("data"));
        if let Some(empty) = self.about["empty"].as_str() {
            fs::create_dir_all(self.here("data").join(empty)).unwrap();
        }
        let model = self.file(self.text("model"));
        let flags = ["--bits", "8", "--data", "data", "-o", "a.rq", "--json"].map(OsString::from);
        let compile = self.call([model.into_os_string()].into_iter().chain(flags).chain(self.flags()));
        let said = if compile.code == 0 { self.call(["eval", "a.rq", "--data", "data", "--json"]) } else { compile };
        match self.about["refuse"].as_str() {
            Some(word) if said.code == 2 && said.reasons().contains(word) => return Ok(End::Right),
            _ if said.code != 0 => return Err(format!("exit {}: {}", said.code, said.last())),
            _ => {}
        }
        let top1 = said.json()["top1"].as_f64().unwrap_or_default();
        if top1 >= self.number("top1").unwrap_or(1.0) { Ok(End::Right) } else { Err(format!("top-1 {top1}")) }
    }

    fn f32note(&self) -> Outcome {
        let (model, data) = (self.file(self.text("model")), self.file(self.text("data")).into_os_string());
        let flags = ["--bits", "8", "-o", "a.rq", "--json", "--data"].map(OsString::from);
        let words = [model.into_os_string()].into_iter().chain(flags).chain([data.clone()]).chain(self.flags());
        let said = self.call(words);
        if said.code != 0 {
            return if said.code == 2 { Ok(End::Right) } else { Err(said.last()) };
        }
        let said = self.call(["eval".into(), "a.rq".into(), "--data".into(), data, "--json".into()]);
        let preprocessing = said.json()["preprocessing"].to_string();
        let untrue = ["0.5", "raw pixels", "pixels / 255"].iter().any(|word| preprocessing.contains(word));
        if untrue { Err(format!("eval says {preprocessing}, which was not done")) } else { Ok(End::Right) }
    }

    fn flat(&self) -> Outcome {
        let (model, data) = (self.file(self.text("model")), self.file(self.text("data")));
        let flags = ["--bits", "8", "-o", "a.rq", "--json", "--data"].map(OsStr::new);
        let said = self.call([model.as_os_str()].into_iter().chain(flags).chain([data.as_os_str()]));
        if said.code == 0 { Ok(End::Right) } else { Err(said.last()) }
    }

    #[cfg(unix)]
    fn utf8(&self) -> Outcome {
        use std::os::unix::ffi::OsStrExt;
        let [model, result] = [&b"b\xff.onnx"[..], b"o\xff.rq"].map(OsStr::from_bytes);
        fs::copy(self.file(self.text("model")), self.work.path().join(model)).unwrap();
        let said = match self.text("how") {
            "check" => self.call([OsStr::new("check"), model, OsStr::new("--json")]),
            _ => self.call([
                model,
                OsStr::new("--bits"),
                OsStr::new("8"),
                OsStr::new("-o"),
                result,
                OsStr::new("--json"),
            ]),
        };
        let answered = [0, 2].contains(&said.code) && said.json().is_object();
        if answered { Ok(End::Right) } else { Err(format!("exit {}: {}", said.code, said.last())) }
    }

    #[cfg(not(unix))]
    fn utf8(&self) -> Outcome {
        Ok(End::Right)
    }

    #[cfg(unix)]
    fn mode(&self) -> Outcome {
        use std::os::unix::fs::PermissionsExt;
        let (model, report) = (self.file(self.text("model")), self.text("how") == "report");
        let target = self.here(if report { "page.html" } else { "a.rq" });
        fs::write(&target, "").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        let flags: &[&str] = if report { &["--report", "page.html"] } else { &[] };
        let words = ["--bits", "8", "-o", "a.rq"].iter().chain(flags).map(OsStr::new);
        let said = self.call([model.as_os_str()].into_iter().chain(words));
        let mode = fs::metadata(&target).unwrap().permissions().mode() & 0o777;
        if said.code == 0 && mode == 0o640 { Ok(End::Right) } else { Err(format!("mode {mode:o}: {}", said.last())) }
    }

    #[cfg(not(unix))]
    fn mode(&self) -> Outcome {
        Ok(End::Right)
    }

    /// With colours asked for, in place of a terminal.
    fn colour(&self) -> Outcome {
        let (model, data) = (self.file(self.text("model")), self.file(self.text("data")));
        let variables = self.about["env"].as_object().into_iter().flatten();
        let mut env: Vec<(String, String)> =
            variables.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
        if env.iter().any(|(name, _)| name == "NO_COLOR") {
            env.push(("CLICOLOR_FORCE".into(), "1".into()));
        }
        let flags = ["--bits", "8", "-o", "a.rq", "--data"].map(OsStr::new);
        let words = [model.as_os_str()].into_iter().chain(flags).chain([data.as_os_str()]);
        let said = self.call_with(words, &env);
        let coloured = said.reasons().contains("\x1b[");
        if coloured || said.code != 0 { Err(said.reasons()) } else { Ok(End::Right) }
    }

    fn retrain(&self) -> Outcome {
        let (model, data) = (self.file(self.text("model")), self.shared.join("data/mnist"));
        let least = self.number("top1").unwrap_or(1.0);
        for how in ["none", "short"] {
            let flags =
                ["--raw-pixels", "--bits", "8", "--retrain", how, "--threads", "1", "-o", "a.rq", "--json", "--data"];
            let words = [model.as_os_str()].into_iter().chain(flags.map(OsStr::new)).chain([data.as_os_str()]);
            let said = self.call(words);
            if said.code != 0 {
                return Err(format!("--retrain {how}: exit {}: {}", said.code, said.last()));
            }
            let said = self.call([
                OsStr::new("eval"),
                OsStr::new("a.rq"),
                OsStr::new("--json"),
                OsStr::new("--data"),
                data.as_os_str(),
            ]);
            let top1 = said.json()["top1"].as_f64().unwrap_or_default();
            if top1 < least {
                return Err(format!("--retrain {how}: top-1 {top1}, {least} is right"));
            }
        }
        Ok(End::Right)
    }
}

/// Whether the text holds one of the alternatives `a|b (c|d)`, whatever the case of letters.
fn names(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.to_lowercase(), pattern.to_lowercase().replace('\\', ""));
    let mut alternatives = Vec::new();
    let mut rest = pattern.as_str();
    while let Some((before, (inner, after))) = rest.split_once('(').and_then(|(b, r)| Some((b, r.split_once(')')?))) {
        let (whole, stem) = before.rsplit_once('|').map_or(("", before), |(whole, stem)| (whole, stem));
        alternatives.extend(whole.split('|').map(str::to_owned));
        alternatives.extend(inner.split('|').map(|choice| format!("{stem}{choice}")));
        rest = after.trim_start_matches('|');
        if rest.is_empty() {
            return alternatives.iter().any(|word| !word.is_empty() && text.contains(word));
        }
    }
    alternatives.extend(rest.split('|').map(str::to_owned));
    pattern.is_empty() || alternatives.iter().any(|word| !word.is_empty() && text.contains(word))
}

/// Signal to noise; 200 for no difference.
fn decibel(want: &[f64], have: &[f64]) -> f64 {
    let noise: f64 = want.iter().zip(have).map(|(a, b)| (a - b) * (a - b)).sum();
    let signal: f64 = want.iter().map(|v| v * v).sum();
    match noise {
        0.0 => 200.0,
        noise if noise.is_finite() && signal > 0.0 => 10.0 * (signal / noise).log10(),
        _ => -999.0,
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// A `.npy` array.
struct Array {
    name: String,
    descr: String,
    dims: Vec<usize>,
    /// The whole file.
    bytes: Vec<u8>,
    start: usize,
}

/// The arrays of an archive, by name.
fn arrays(path: &Path) -> Vec<Array> {
    let mut archive = NpzArchive::new(std::io::BufReader::new(fs::File::open(path).unwrap())).unwrap();
    let mut names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    names.sort();
    let mut read = |name: &String| {
        let mut bytes = Vec::new();
        let zip = archive.zip_archive();
        zip.by_name(&file_name_from_array_name(name)).unwrap().read_to_end(&mut bytes).unwrap();
        Array::parse(name, bytes)
    };
    names.iter().map(&mut read).collect()
}

impl Array {
    fn parse(name: &str, bytes: Vec<u8>) -> Self {
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = String::from_utf8_lossy(&bytes[10..start]).into_owned();
        let after = |key: &str| header.split_once(key).unwrap().1.to_owned();
        let descr = after("'descr': '").split('\'').next().unwrap().to_owned();
        let shape = after("'shape': (").split(')').next().unwrap().to_owned();
        let dims = shape.split(',').filter_map(|extent| extent.trim().parse().ok()).collect();
        Array { name: name.to_owned(), descr, dims, bytes, start }
    }

    fn values(&self) -> Vec<f64> {
        let data = &self.bytes[self.start..];
        match self.descr.as_str() {
            "<f4" => data.as_chunks().0.iter().map(|word| f64::from(f32::from_le_bytes(*word))).collect(),
            "<f8" => data.as_chunks().0.iter().map(|word| f64::from_le_bytes(*word)).collect(),
            "<f2" => data.as_chunks().0.iter().map(|word| half(u16::from_le_bytes(*word))).collect(),
            "<i8" => data.as_chunks().0.iter().map(|word| i64::from_le_bytes(*word) as f64).collect(),
            "<i4" => data.as_chunks().0.iter().map(|word| f64::from(i32::from_le_bytes(*word))).collect(),
            "|u1" | "|b1" => data.iter().map(|byte| f64::from(*byte)).collect(),
            other => panic!("{}: type {other}", self.name),
        }
    }

    /// The file that is given to `run`: floats as f32.
    fn input(&self) -> Vec<u8> {
        match self.descr.as_str() {
            "<f2" | "<f8" => npy(&self.dims, &self.values().iter().map(|v| *v as f32).collect::<Vec<_>>()),
            _ => self.bytes.clone(),
        }
    }
}

/// The value of a float16.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = if exponent == 0 { fraction * 2f64.powi(-24) } else { (1024.0 + fraction) * 2f64.powi(exponent - 25) };
    if bits >> 15 == 1 { -size } else { size }
}
