//! The C interface, as include/releq.h states it.
#![allow(unsafe_code, reason = "pointers from C")]

use crate::format::{Artifact, LoadOptions};
use crate::program::{FloatId, Port};
use crate::{Pixels, RunError, Session, SessionOptions};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::slice;
use std::sync::{Mutex, PoisonError};

/// A loaded network.
#[allow(non_camel_case_types, reason = "its name in C")]
pub struct releq_model {
    artifact: Artifact,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

/// A planned network with its memory.
#[allow(non_camel_case_types, reason = "its name in C")]
pub struct releq_session {
    session: Mutex<Session>,
    isa: CString,
    input_size: usize,
    output_size: usize,
}

/// Writes a message, cut to the buffer between two characters, with its terminating zero.
///
/// # Safety
/// `error` is valid for `size` bytes, or `size` is 0.
unsafe fn report(message: &str, error: *mut c_char, size: usize) {
    if error.is_null() || size == 0 {
        return;
    }
    let len = message.floor_char_boundary(size - 1);
    // SAFETY: `len + 1 <= size` bytes are valid by the contract.
    unsafe {
        std::ptr::copy_nonoverlapping(message.as_ptr(), error.cast(), len);
        *error.add(len) = 0;
    }
}

/// Runs `body`; a failure or a panic becomes a message and `None`.
///
/// # Safety
/// As [`report`].
unsafe fn guarded<T>(error: *mut c_char, size: usize, body: impl FnOnce() -> Result<T, String>) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| Err("internal error".to_owned()));
    // SAFETY: by the contract.
    result.map_err(|message| unsafe { report(&message, error, size) }).ok()
}

/// A heap pointer for C.
fn boxed<T>(value: Option<T>) -> *mut T {
    value.map_or(std::ptr::null_mut(), |value| Box::into_raw(Box::new(value)))
}

/// Text from C.
///
/// # Safety
/// `text` is NULL or ends in a zero.
unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, String> {
    if text.is_null() {
        return Err(format!("{name} is NULL"));
    }
    // SAFETY: by the contract.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| format!("{name} is not UTF-8"))
}

fn model(artifact: Artifact) -> Result<releq_model, String> {
    // Names hold no zero byte in practice; one that does is cut there.
    let name = |port: &Port| CString::new(port.name.split('\0').next().unwrap_or_default()).unwrap_or_default();
    let program = artifact.program();
    let names = |ports: &[(Port, FloatId)]| ports.iter().map(|(port, _)| name(port)).collect();
    Ok(releq_model { inputs: names(&program.inputs), outputs: names(&program.outputs), artifact })
}

/// See include/releq.h.
///
/// # Safety
/// `path` ends in a zero; `error` is valid for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_model_open(
    path: *const c_char,
    error: *mut c_char,
    error_size: usize,
) -> *mut releq_model {
    // SAFETY: by the contract.
    boxed(unsafe {
        guarded(error, error_size, || {
            let path = text(path, "path")?;
            Artifact::open(Path::new(path)).map_err(|error| format!("{path}: {error}")).and_then(model)
        })
    })
}

/// See include/releq.h.
///
/// # Safety
/// `bytes` is valid for `size` bytes, `error` for `error_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_model_load(
    bytes: *const c_void,
    size: usize,
    error: *mut c_char,
    error_size: usize,
) -> *mut releq_model {
    // SAFETY: by the contract.
    boxed(unsafe {
        guarded(error, error_size, || {
            if bytes.is_null() {
                return Err("bytes is NULL".to_owned());
            }
            let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), size);
            Artifact::from_bytes(bytes, LoadOptions::default()).map_err(|error| error.to_string()).and_then(model)
        })
    })
}

/// See include/releq.h.
///
/// # Safety
/// `model` is NULL or came from this interface, and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_model_free(model: *mut releq_model) {
    if !model.is_null() {
        // SAFETY: by the contract it came from `Box::into_raw`, and is freed once.
        drop(unsafe { Box::from_raw(model) });
    }
}

/// See include/releq.h.
///
/// # Safety
/// `model` is NULL or a live model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_model_outputs(model: *const releq_model) -> usize {
    // SAFETY: by the contract.
    unsafe { model.as_ref() }.map_or(0, |model| model.outputs.len())
}

/// See include/releq.h.
///
/// # Safety
/// `model` is NULL or a live model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_model_inputs(model: *const releq_model) -> usize {
    // SAFETY: by the contract.
    unsafe { model.as_ref() }.map_or(0, |model| model.inputs.len())
}

/// See include/releq.h.
///
/// # Safety
/// `model` is NULL or a live model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_model_input_name(model: *const releq_model, index: usize) -> *const c_char {
    // SAFETY: by the contract.
    let name = unsafe { model.as_ref() }.and_then(|model| model.inputs.get(index));
    name.map_or(std::ptr::null(), |name| name.as_ptr())
}

/// See include/releq.h.
///
/// # Safety
/// `model` is NULL or a live model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_model_output_name(model: *const releq_model, index: usize) -> *const c_char {
    // SAFETY: by the contract.
    let name = unsafe { model.as_ref() }.and_then(|model| model.outputs.get(index));
    name.map_or(std::ptr::null(), |name| name.as_ptr())
}

/// Stores the extents of a port.
///
/// # Safety
/// `extents` is valid for `capacity` values, or `capacity` is 0.
unsafe fn shape(port: Option<&Port>, extents: *mut usize, capacity: usize) -> usize {
    let Some(port) = port else { return 0 };
    if !extents.is_null() {
        for (i, &extent) in port.dims.iter().take(capacity).enumerate() {
            // SAFETY: `i < capacity`.
            unsafe { *extents.add(i) = extent as usize };
        }
    }
    port.dims.len()
}

/// See include/releq.h.
///
/// # Safety
/// `model` is NULL or a live model, `extents` is valid for `capacity` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_model_input_shape(
    model: *const releq_model,
    index: usize,
    extents: *mut usize,
    capacity: usize,
) -> usize {
    // SAFETY: by the contract.
    unsafe {
        let input = model.as_ref().and_then(|model| model.artifact.program().inputs.get(index));
        shape(input.map(|(port, _)| port), extents, capacity)
    }
}

/// See include/releq.h.
///
/// # Safety
/// `model` is NULL or a live model, `extents` is valid for `capacity` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_model_output_shape(
    model: *const releq_model,
    index: usize,
    extents: *mut usize,
    capacity: usize,
) -> usize {
    // SAFETY: by the contract.
    unsafe {
        let output = model.as_ref().and_then(|model| model.artifact.program().outputs.get(index));
        shape(output.map(|(port, _)| port), extents, capacity)
    }
}

/// See include/releq.h.
///
/// # Safety
/// `model` is a live model, `isa` is NULL or ends in a zero, `error` is valid for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_session_new(
    model: *const releq_model,
    isa: *const c_char,
    threads: usize,
    error: *mut c_char,
    error_size: usize,
) -> *mut releq_session {
    // SAFETY: by the contract.
    boxed(unsafe {
        guarded(error, error_size, || {
            let model = model.as_ref().ok_or("model is NULL")?;
            let isa = if isa.is_null() {
                None
            } else {
                Some(text(isa, "isa")?.parse().map_err(|error: crate::isa::UnknownIsa| error.to_string())?)
            };
            let session = Session::new(&model.artifact, SessionOptions { isa, threads, ..SessionOptions::default() })
                .map_err(|error| error.to_string())?;
            Ok(releq_session {
                isa: CString::new(session.isa().name()).unwrap_or_default(),
                input_size: session.input_len(),
                output_size: session.output_len(),
                session: Mutex::new(session),
            })
        })
    })
}

/// See include/releq.h.
///
/// # Safety
/// `session` is NULL or came from this interface, and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_session_free(session: *mut releq_session) {
    if !session.is_null() {
        // SAFETY: by the contract it came from `Box::into_raw`, and is freed once.
        drop(unsafe { Box::from_raw(session) });
    }
}

/// See include/releq.h.
///
/// # Safety
/// `session` is NULL or a live session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_session_isa(session: *const releq_session) -> *const c_char {
    // SAFETY: by the contract.
    unsafe { session.as_ref() }.map_or(std::ptr::null(), |session| session.isa.as_ptr())
}

/// See include/releq.h.
///
/// # Safety
/// `session` is NULL or a live session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_session_input_size(session: *const releq_session) -> usize {
    // SAFETY: by the contract.
    unsafe { session.as_ref() }.map_or(0, |session| session.input_size)
}

/// See include/releq.h.
///
/// # Safety
/// `session` is NULL or a live session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_session_output_size(session: *const releq_session) -> usize {
    // SAFETY: by the contract.
    unsafe { session.as_ref() }.map_or(0, |session| session.output_size)
}

/// See include/releq.h.
///
/// # Safety
/// `session` is a live session; `input` and `output` are valid for `samples` samples and do not overlap; `error` is valid for
/// `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_session_run(
    session: *mut releq_session,
    input: *const f32,
    samples: usize,
    output: *mut f32,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    // SAFETY: by the contract.
    unsafe {
        run(session, input, samples, output, (error, error_size), |planned, input, output, _| {
            planned.run_batch(input, output)
        })
    }
}

/// Runs samples by `run`, which gets all inputs, all outputs and the sizes of one of each.
///
/// # Safety
/// That of the functions of the interface that take these arguments.
unsafe fn run<T>(
    session: *mut releq_session,
    input: *const T,
    samples: usize,
    output: *mut f32,
    (error, error_size): (*mut c_char, usize),
    run: impl FnOnce(&mut Session, &[T], &mut [f32], [usize; 2]) -> Result<(), RunError>,
) -> c_int {
    // SAFETY: by the contract.
    let done = unsafe {
        guarded(error, error_size, || {
            let session = session.as_ref().ok_or("session is NULL")?;
            if input.is_null() || output.is_null() {
                return Err("input or output is NULL".to_owned());
            }
            if samples == 0 {
                return Err("samples is 0; at least 1 is required".to_owned());
            }
            let sizes = [session.input_size, session.output_size];
            let len = |size: usize| size.checked_mul(samples).ok_or("too many samples");
            let input = std::slice::from_raw_parts(input, len(sizes[0])?);
            let output = std::slice::from_raw_parts_mut(output, len(sizes[1])?);
            // A run that panicked left no state behind that the next run reads.
            let mut planned = session.session.lock().unwrap_or_else(PoisonError::into_inner);
            run(&mut planned, input, output, sizes).map_err(|error| error.to_string())
        })
    };
    if done.is_some() { 0 } else { -1 }
}

/// See include/releq.h.
///
/// # Safety
/// `session` is a live session; `mean` and `std` are valid for `channels` values; `error` is valid for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_session_set_pixels(
    session: *mut releq_session,
    mean: *const f32,
    std: *const f32,
    channels: usize,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    // SAFETY: by the contract.
    let done = unsafe {
        guarded(error, error_size, || {
            let session = session.as_ref().ok_or("session is NULL")?;
            let pixels = if channels == 0 {
                Pixels::Raw
            } else if mean.is_null() || std.is_null() {
                return Err("mean or std is NULL".to_owned());
            } else {
                let list = |values: *const f32| slice::from_raw_parts(values, channels).to_vec();
                Pixels::Normalize { mean: list(mean), std: list(std) }
            };
            let mut planned = session.session.lock().unwrap_or_else(PoisonError::into_inner);
            planned.set_pixels(pixels).map_err(|error| error.to_string())
        })
    };
    if done.is_some() { 0 } else { -1 }
}

/// See include/releq.h.
///
/// # Safety
/// As [`releq_session_run`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_session_run_u8(
    session: *mut releq_session,
    pixels: *const u8,
    samples: usize,
    output: *mut f32,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    // SAFETY: by the contract.
    unsafe {
        run(session, pixels, samples, output, (error, error_size), |planned, pixels, output, [inputs, outputs]| {
            let mut samples = pixels.chunks_exact(inputs).zip(output.chunks_exact_mut(outputs));
            samples.try_for_each(|(x, y)| planned.run_u8(x, y))
        })
    }
}

#[cfg(all(test, feature = "encode"))]
mod tests {
    use super::*;
    use crate::format::{ArtifactParts, encode};
    use crate::program::{FloatSlot, Op, Order, Program, Tensor, TensorId};

    #[test]
    fn a_message_is_cut_between_characters() {
        let message = "aäß€𝄞";
        for size in 0..message.len() + 3 {
            let mut buffer = vec![0x7f; size + 1];
            // SAFETY: the buffer holds `size` bytes.
            unsafe { report(message, buffer.as_mut_ptr().cast(), size) };
            assert_eq!(buffer[size], 0x7f, "a byte behind the buffer was written");
            if size > 0 {
                let text = CStr::from_bytes_until_nul(&buffer).unwrap().to_str().unwrap();
                assert!(message.starts_with(text) && text.len() < size && text.len() + 4 >= size.min(message.len()));
            }
        }
    }

    /// A network of one value that quantizes its input.
    fn session() -> *mut releq_session {
        let port = Port { name: "x".into(), dims: vec![1], ..Port::default() };
        let tensor =
            Tensor { name: "q".into(), height: 1, width: 1, channels: 1, scale: 1.0, zero_point: 0, arena_offset: 0 };
        let program = Program {
            outputs: vec![(port.clone(), FloatId(1))],
            inputs: vec![(port, FloatId(0))],
            tensors: vec![tensor],
            floats: vec![FloatSlot { len: 1 }; 2],
            ops: vec![
                Op::Quantize { x: FloatId(0), y: TensorId(0), inv_scale: 1.0, order: Order::Same },
                Op::Dequantize { x: TensorId(0), y: FloatId(1), order: Order::Same },
            ],
            arena_bytes: 1,
        };
        let bytes = encode(&ArtifactParts { program, ..Default::default() });
        // SAFETY: the bytes are valid, the model lives until the session was made, there is no buffer for a message.
        unsafe {
            let model = releq_model_load(bytes.as_ptr().cast(), bytes.len(), std::ptr::null_mut(), 0);
            let session = releq_session_new(model, std::ptr::null(), 1, std::ptr::null_mut(), 0);
            releq_model_free(model);
            assert!(!session.is_null());
            session
        }
    }

    #[test]
    fn floats_and_pixels_refuse_the_same() {
        let session = session();
        let (floats, pixels, mut y) = ([3.0f32; 2], [3u8; 2], [0.0f32; 2]);
        let mut both = |samples: usize| {
            let mut error = [[0u8; 80]; 2];
            // SAFETY: the buffers hold two samples, and as many bytes of messages as stated.
            let codes = unsafe {
                let [first, second] = error.each_mut().map(|error| error.as_mut_ptr().cast());
                let y = y.as_mut_ptr();
                [
                    releq_session_run(session, floats.as_ptr(), samples, y, first, 80),
                    releq_session_run_u8(session, pixels.as_ptr(), samples, y, second, 80),
                ]
            };
            let text = error.map(|error| CStr::from_bytes_until_nul(&error).unwrap().to_str().unwrap().to_owned());
            (codes, text, y)
        };
        let (codes, text, _) = both(0);
        assert_eq!(codes, [-1, -1]);
        assert!(text.iter().all(|text| text == "samples is 0; at least 1 is required"), "{text:?}");
        let (codes, text, _) = both(2);
        assert_eq!(codes, [0, -1], "nothing says how pixels become inputs");
        assert!(text[1].contains("records no preprocessing"), "{text:?}");
        // SAFETY: the session is live; no lists, no buffer for a message.
        unsafe {
            let (none, no_text) = (std::ptr::null(), std::ptr::null_mut());
            assert_eq!(releq_session_set_pixels(session, none, none, 0, no_text, 0), 0);
        }
        assert_eq!((both(2).0, both(2).2), ([0, 0], [3.0, 3.0]));
        assert_eq!(both(0).0, [-1, -1]);
        // SAFETY: not used afterwards.
        unsafe { releq_session_free(session) };
    }
}
