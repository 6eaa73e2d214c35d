//! Artifacts from files: read, or mapped.

#![cfg(feature = "encode")]
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, reason = "a test that maps a file")]

#[path = "support/net.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "shared by tests")]
mod net;

use net::{Net, square};
use releqc_runtime::BitWidth;
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};

#[test]
fn an_opened_file_may_change_a_mapped_one_holds_the_same() {
    let (mut net, x) = Net::new(3, [3, 6, 6], 0);
    let y = net.conv(x, 16, square(3, 1, 0), 1, BitWidth::MAX, [0, 0, 255]).unwrap();
    let y = net.dequantize(y);
    net.output(y);
    let Net { program, constants, weights, .. } = net;
    let bytes = encode(&ArtifactParts { program, constants, weights, ..Default::default() });
    let path = std::env::temp_dir().join(format!("releqc-opened-{}.rq", std::process::id()));
    std::fs::write(&path, &bytes).unwrap();
    let opened = Artifact::open(&path).unwrap();
    // SAFETY: nothing touches the file before `mapped` is dropped.
    let mapped = unsafe { Artifact::map(&path, LoadOptions::default()) }.unwrap();
    assert_eq!(mapped.weights_section(), opened.weights_section());
    let weights = mapped.weights_section().to_vec();
    drop(mapped);
    std::fs::write(&path, b"").unwrap();
    assert_eq!(opened.weights_section(), weights);
    for (len, message) in [(0, "magic"), (7, "magic"), (8, "has 8 bytes"), (bytes.len() - 1, "truncated")] {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let error = Artifact::open(&path).err().unwrap();
        assert!(error.kind() == std::io::ErrorKind::InvalidData && error.to_string().contains(message), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
}
