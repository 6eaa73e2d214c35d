//! `releqc._native`: sessions of the runtime over numpy arrays. What users see is `python/releqc/`.

use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use releqc_runtime::format::{Artifact, LoadOptions};
use releqc_runtime::program::{FloatId, Port};
use releqc_runtime::{Pixels, RunError, SessionOptions};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Name, word of the element type and extents of an input or output.
type PortFacts = (String, &'static str, Vec<u32>);

/// A network planned for this machine.
#[pyclass(frozen, module = "releqc._native")]
struct Session {
    session: Mutex<releqc_runtime::Session>,
    inputs: Vec<PortFacts>,
    outputs: Vec<PortFacts>,
    sizes: [usize; 2],
    isa: String,
}

/// What a caller gave is wrong: becomes `releqc.InputError`.
fn refused(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn facts(ports: &[(Port, FloatId)]) -> Vec<PortFacts> {
    ports.iter().map(|(port, _)| (port.name.clone(), port.element.label(), port.dims.clone())).collect()
}

#[pymethods]
impl Session {
    /// From the bytes of an artifact, or from a file.
    #[new]
    #[pyo3(signature = (bytes, path, threads, isa, batch))]
    fn new(
        py: Python<'_>,
        bytes: Option<&[u8]>,
        path: Option<PathBuf>,
        threads: usize,
        isa: Option<&str>,
        batch: usize,
    ) -> PyResult<Self> {
        let isa = isa.map(str::parse).transpose().map_err(|error: releqc_runtime::isa::UnknownIsa| refused(error))?;
        let options = SessionOptions { isa, threads, ..SessionOptions::default() };
        py.detach(|| {
            let artifact = match (bytes, &path) {
                (Some(bytes), _) => Artifact::from_bytes(bytes, LoadOptions::default()).map_err(refused)?,
                (None, Some(path)) => {
                    Artifact::open(path).map_err(|error| refused(format!("{}: {error}", path.display())))?
                }
                (None, None) => return Err(refused("neither bytes nor a path")),
            };
            let session = releqc_runtime::Session::for_batches(&artifact, options, batch).map_err(refused)?;
            Ok(Session {
                inputs: facts(&artifact.program().inputs),
                outputs: facts(&artifact.program().outputs),
                sizes: [session.input_len(), session.output_len()],
                isa: session.isa().name().to_owned(),
                session: Mutex::new(session),
            })
        })
    }

    /// Facts of the inputs, in order.
    #[getter]
    fn inputs(&self) -> Vec<PortFacts> {
        self.inputs.clone()
    }

    /// Facts of the outputs, in order.
    #[getter]
    fn outputs(&self) -> Vec<PortFacts> {
        self.outputs.clone()
    }

    /// Instruction set of the plan.
    #[getter]
    fn isa(&self) -> &str {
        &self.isa
    }

    /// States how pixels become inputs; raw where there is no list.
    fn set_pixels(&self, lists: Option<(Vec<f32>, Vec<f32>)>) -> PyResult<()> {
        let pixels = lists.map_or(Pixels::Raw, |(mean, std)| Pixels::Normalize { mean, std });
        self.session.lock().unwrap_or_else(PoisonError::into_inner).set_pixels(pixels).map_err(refused)
    }

    /// Runs whole samples of floats, all inputs of each one after the other.
    fn run<'py>(&self, py: Python<'py>, x: PyReadonlyArray1<'py, f32>) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let x = x.as_slice()?;
        self.computed(py, x.len(), |session, y| session.run_batch(x, y))
    }

    /// Runs whole samples of pixels.
    fn run_u8<'py>(&self, py: Python<'py>, x: PyReadonlyArray1<'py, u8>) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let x = x.as_slice()?;
        let [inputs, outputs] = self.sizes;
        self.computed(py, x.len(), |session, y| {
            let mut samples = x.chunks_exact(inputs).zip(y.chunks_exact_mut(outputs));
            samples.try_for_each(|(x, y)| session.run_u8(x, y))
        })
    }
}

impl Session {
    /// The outputs of as many samples as `len` values are, computed without the interpreter's lock.
    fn computed<'py>(
        &self,
        py: Python<'py>,
        len: usize,
        run: impl FnOnce(&mut releqc_runtime::Session, &mut [f32]) -> Result<(), RunError> + Send,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let [inputs, outputs] = self.sizes;
        if len == 0 || !len.is_multiple_of(inputs) {
            return Err(refused(format!("{len} values; a multiple of {inputs} is required")));
        }
        let y = PyArray1::<f32>::zeros(py, len / inputs * outputs, false);
        let mut writable = y.try_readwrite().map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        let values = writable.as_slice_mut()?;
        py.detach(|| {
            // A run that panicked left no state behind that the next run reads.
            run(&mut self.session.lock().unwrap_or_else(PoisonError::into_inner), values).map_err(refused)
        })?;
        drop(writable);
        Ok(y)
    }
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Session>()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
