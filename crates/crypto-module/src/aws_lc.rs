//! What aws-lc-rs does not offer, over the library itself: RSA with a chosen exponent, RSA without digest information,
//! recovery of RSA factors, AES key wrap for every key size, ML-DSA with a context or an external mu.
//!
//! A wrong length is undefined behaviour below this file, so every function here checks every length itself and is safe
//! to call with anything.
#![expect(unsafe_code, reason = "the library is written in C")]

use std::ffi::{c_int, c_uint};
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null, null_mut};

use aws_lc_sys as sys;
use model::MlDsa;
use zeroize::Zeroizing;

use crate::keys::{ml_dsa_public_len, ml_dsa_signature_len};
use crate::secret::SecretBytes;

/// An object of the library, freed on drop. The library wipes what it frees.
struct Owned<T> {
    object: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes over a fresh object, or a null pointer as failure.
    ///
    /// # Safety
    /// `object` is null, or valid, owned by the caller, and to be freed by `free`.
    unsafe fn take(object: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(object).map(|object| Self { object, free })
    }

    fn as_ptr(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `take` promised that the object is ours and that `free` frees it; drop runs once.
        unsafe { (self.free)(self.as_ptr()) }
    }
}

type Number = Owned<sys::BIGNUM>;
type Pkey = Owned<sys::EVP_PKEY>;

impl Number {
    fn zero() -> Option<Self> {
        // SAFETY: BN_new has no preconditions; BN_clear_free frees what it makes.
        unsafe { Self::take(sys::BN_new(), sys::BN_clear_free) }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // SAFETY: the pointer is valid for the length given with it; a null result object asks for a new one.
        unsafe { Self::take(sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), null_mut()), sys::BN_clear_free) }
    }

    fn to_secret(&self) -> Option<SecretBytes> {
        // SAFETY: the number is valid.
        let len = usize::try_from(unsafe { sys::BN_num_bytes(self.as_ptr()) }).ok()?;
        let mut bytes = Zeroizing::new(vec![0; len]);
        // SAFETY: the buffer has exactly the length given.
        let done = unsafe { sys::BN_bn2bin_padded(bytes.as_mut_ptr(), bytes.len(), self.as_ptr()) };
        (done == 1).then(|| SecretBytes::copy_of(&bytes))
    }

    fn is_one(&self) -> bool {
        // SAFETY: the number is valid.
        unsafe { sys::BN_is_one(self.as_ptr()) == 1 }
    }

    fn equals(&self, other: &Self) -> bool {
        // SAFETY: both numbers are valid.
        unsafe { sys::BN_cmp(self.as_ptr(), other.as_ptr()) == 0 }
    }

    /// `self − 1`.
    fn less_one(&self) -> Option<Self> {
        // SAFETY: the number is valid; BN_dup makes a new one.
        let copy = unsafe { Self::take(sys::BN_dup(self.as_ptr()), sys::BN_clear_free) }?;
        // SAFETY: the copy is valid and ours alone.
        (unsafe { sys::BN_sub_word(copy.as_ptr(), 1) } == 1).then_some(copy)
    }
}

/// Makes an RSA key: its modulus, and the key pair as PKCS#8 DER.
///
/// `None` if `bits` is not 2048, 3072 or 4096, `exponent` not odd from 3 to 2^32, or the library fails.
pub(crate) fn generate_rsa(bits: u16, exponent: u64) -> Option<(Box<[u8]>, SecretBytes)> {
    if !matches!(bits, 2048 | 3072 | 4096) || exponent < 3 || exponent.is_multiple_of(2) || exponent > 1 << 32 {
        return None;
    }
    let e = Number::from_bytes(&exponent.to_be_bytes())?;
    // SAFETY: RSA_new has no preconditions; RSA_free frees what it makes.
    let rsa = unsafe { Owned::take(sys::RSA_new(), sys::RSA_free) }?;
    // SAFETY: key and exponent are valid; a null callback asks for none.
    if unsafe { sys::RSA_generate_key_ex(rsa.as_ptr(), c_int::from(bits.cast_signed()), e.as_ptr(), null_mut()) } != 1 {
        return None;
    }
    let mut n = vec![0; usize::from(bits) / 8].into_boxed_slice();
    // SAFETY: the key is valid and has a modulus, which lives as long as it; the buffer has the length given, and the
    // function fails unless the number fits exactly or with zeros before it.
    if unsafe { sys::BN_bn2bin_padded(n.as_mut_ptr(), n.len(), sys::RSA_get0_n(rsa.as_ptr())) } != 1 {
        return None;
    }
    // SAFETY: EVP_PKEY_new has no preconditions.
    let pkey = unsafe { Pkey::take(sys::EVP_PKEY_new(), sys::EVP_PKEY_free) }?;
    // SAFETY: both are valid; the function takes a reference of its own on the key.
    if unsafe { sys::EVP_PKEY_set1_RSA(pkey.as_ptr(), rsa.as_ptr()) } != 1 {
        return None;
    }
    Some((n, pkcs8(&pkey)?))
}

fn pkcs8(pkey: &Pkey) -> Option<SecretBytes> {
    // More than the PKCS#8 form of an RSA key of 4096 bits (2,375 bytes) takes.
    let mut buffer = Zeroizing::new(vec![0_u8; 4096]);
    let mut cbb = MaybeUninit::<sys::CBB>::uninit();
    let mut len = 0;
    // SAFETY: the buffer is valid for its length and outlives the builder, which never writes past it; a fixed builder
    // owns no memory, so nothing leaks when a later step fails.
    let done = unsafe {
        sys::CBB_init_fixed(cbb.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len()) == 1
            && sys::EVP_marshal_private_key(cbb.as_mut_ptr(), pkey.as_ptr()) == 1
            && sys::CBB_finish(cbb.as_mut_ptr(), null_mut(), &raw mut len) == 1
    };
    if done { buffer.get(..len).map(SecretBytes::copy_of) } else { None }
}

/// Finds `p`, `q`, `d mod (p−1)`, `d mod (q−1)` and `1/q mod p` from a modulus and both exponents; `None` if they do not
/// belong together. The time depends on the key, which whoever imports it knows.
///
/// Source: SP 800-56B revision 2, appendix C.1 (the probabilistic method).
pub(crate) fn recover_rsa_factors(n: &[u8], e: &[u8], d: &[u8]) -> Option<[SecretBytes; 5]> {
    if n.len() > 512 || e.len() > 8 || d.len() > 512 || n.last().is_none_or(|last| last % 2 == 0) {
        return None;
    }
    let (n, e, d) = (Number::from_bytes(n)?, Number::from_bytes(e)?, Number::from_bytes(d)?);
    let n_less_one = n.less_one()?;
    // SAFETY: BN_CTX_new has no preconditions.
    let ctx = unsafe { Owned::take(sys::BN_CTX_new(), sys::BN_CTX_free) }?;
    let ctx = ctx.as_ptr();

    // d·e − 1 = 2^t · r with r odd.
    let k = Number::zero()?;
    // SAFETY: all numbers and the context are valid.
    if unsafe { sys::BN_mul(k.as_ptr(), d.as_ptr(), e.as_ptr(), ctx) } != 1 {
        return None;
    }
    let k = k.less_one()?;
    // SAFETY: the number is valid.
    if unsafe { sys::BN_is_zero(k.as_ptr()) } == 1 || unsafe { sys::BN_is_odd(k.as_ptr()) } == 1 {
        return None;
    }
    // SAFETY: the number is valid.
    let t = unsafe { sys::BN_count_low_zero_bits(k.as_ptr()) };
    let r = Number::zero()?;
    // SAFETY: both numbers are valid and `t` is not negative.
    if unsafe { sys::BN_rshift(r.as_ptr(), k.as_ptr(), t) } != 1 {
        return None;
    }

    let (mut y, mut square, g, p) = (Number::zero()?, Number::zero()?, Number::zero()?, Number::zero()?);
    for _ in 0..100 {
        // SAFETY: all numbers and the context are valid; the modulus is odd, and the base is below it.
        let drawn = unsafe {
            sys::BN_rand_range_ex(g.as_ptr(), 2, n_less_one.as_ptr()) == 1
                && sys::BN_mod_exp(y.as_ptr(), g.as_ptr(), r.as_ptr(), n.as_ptr(), ctx) == 1
        };
        if !drawn {
            return None;
        }
        for step in 0..=t {
            if y.is_one() || y.equals(&n_less_one) {
                break;
            }
            if step == t {
                // g to the power d·e − 1 is not 1, so d is no private exponent; no other g would do better.
                return None;
            }
            // SAFETY: all numbers and the context are valid, and the modulus is not zero.
            if unsafe { sys::BN_mod_mul(square.as_ptr(), y.as_ptr(), y.as_ptr(), n.as_ptr(), ctx) } != 1 {
                return None;
            }
            if square.is_one() {
                // y is a square root of 1 other than ±1, so y − 1 shares exactly one factor with n.
                let y_less_one = y.less_one()?;
                // SAFETY: all numbers and the context are valid.
                if unsafe { sys::BN_gcd(p.as_ptr(), y_less_one.as_ptr(), n.as_ptr(), ctx) } != 1 {
                    return None;
                }
                return crt_parts(&n, &d, &p, ctx);
            }
            std::mem::swap(&mut y, &mut square);
        }
    }
    None
}

fn crt_parts(n: &Number, d: &Number, p: &Number, ctx: *mut sys::BN_CTX) -> Option<[SecretBytes; 5]> {
    let (q, dp, dq, qi) = (Number::zero()?, Number::zero()?, Number::zero()?, Number::zero()?);
    // SAFETY: all numbers and the context are valid; p divides n, so it is not zero. A null remainder is not wanted.
    if unsafe { sys::BN_div(q.as_ptr(), null_mut(), n.as_ptr(), p.as_ptr(), ctx) } != 1 {
        return None;
    }
    let (p_less_one, q_less_one) = (p.less_one()?, q.less_one()?);
    if p.is_one() || q.is_one() {
        return None;
    }
    // SAFETY: all numbers and the context are valid, and the divisors are not zero, since p and q are above 1. A null
    // quotient is not wanted. An inverse that does not exist gives null.
    let done = unsafe {
        sys::BN_div(null_mut(), dp.as_ptr(), d.as_ptr(), p_less_one.as_ptr(), ctx) == 1
            && sys::BN_div(null_mut(), dq.as_ptr(), d.as_ptr(), q_less_one.as_ptr(), ctx) == 1
            && !sys::BN_mod_inverse(qi.as_ptr(), q.as_ptr(), p.as_ptr(), ctx).is_null()
    };
    if !done {
        return None;
    }
    Some([p.to_secret()?, q.to_secret()?, dp.to_secret()?, dq.to_secret()?, qi.to_secret()?])
}

/// An RSA private key for signing without digest information.
pub(crate) struct RsaPrivateKey(Pkey);

// SAFETY: the library allows an RSA key to be used by several threads at once as long as none changes it, and guards its
// blinding state with a lock of its own. Nothing here changes a key after it is made.
unsafe impl Send for RsaPrivateKey {}
// SAFETY: as above.
unsafe impl Sync for RsaPrivateKey {}

impl RsaPrivateKey {
    /// Reads PKCS#8 DER of an RSA key.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let mut cbs = sys::CBS { data: der.as_ptr(), len: der.len() };
        // SAFETY: the byte string is valid for its length while the parser reads it; the result owns its own copy.
        let pkey = unsafe { Pkey::take(sys::EVP_parse_private_key(&raw mut cbs), sys::EVP_PKEY_free) }?;
        // SAFETY: the key is valid; for another type of key the result is null.
        let is_rsa = !unsafe { sys::EVP_PKEY_get0_RSA(pkey.as_ptr()) }.is_null();
        is_rsa.then_some(Self(pkey))
    }

    /// PKCS#1 v1.5 type 1 padding over `input` as it is. `None` if it is longer than the modulus less 11 bytes.
    pub(crate) fn sign_raw(&self, input: &[u8]) -> Option<Vec<u8>> {
        // SAFETY: the key is valid and was checked to be RSA; the RSA object lives as long as it.
        let rsa = unsafe { sys::EVP_PKEY_get0_RSA(self.0.as_ptr()) };
        // SAFETY: as above.
        let size = usize::try_from(unsafe { sys::RSA_size(rsa) }).ok()?;
        if input.len() > size.checked_sub(11)? {
            return None;
        }
        let mut out = vec![0; size];
        let mut len = 0;
        // SAFETY: input and output are valid for the lengths given with them, and the output has the size of the modulus.
        let done = unsafe {
            sys::RSA_sign_raw(
                rsa,
                &raw mut len,
                out.as_mut_ptr(),
                out.len(),
                input.as_ptr(),
                input.len(),
                sys::RSA_PKCS1_PADDING,
            )
        };
        (done == 1 && len == size).then_some(out)
    }
}

/// The bytes that a signature without digest information covers, or `None` if it is no signature of this key.
pub(crate) fn rsa_verify_raw(n: &[u8], e: &[u8], signature: &[u8]) -> Option<Vec<u8>> {
    if !(256..=512).contains(&n.len()) || !(1..=8).contains(&e.len()) || signature.len() != n.len() {
        return None;
    }
    let (modulus, exponent) = (Number::from_bytes(n)?, Number::from_bytes(e)?);
    // SAFETY: both numbers are valid, and the function copies them; it refuses numbers that make no key.
    let rsa = unsafe { Owned::take(sys::RSA_new_public_key(modulus.as_ptr(), exponent.as_ptr()), sys::RSA_free) }?;
    let mut out = vec![0; n.len()];
    let mut len = 0;
    // SAFETY: signature and output are valid for the lengths given with them, and both have the size of the modulus.
    let done = unsafe {
        sys::RSA_verify_raw(
            rsa.as_ptr(),
            &raw mut len,
            out.as_mut_ptr(),
            out.len(),
            signature.as_ptr(),
            signature.len(),
            sys::RSA_PKCS1_PADDING,
        )
    };
    if done != 1 || len > out.len() {
        return None;
    }
    out.truncate(len);
    Some(out)
}

/// The two kinds of AES key wrap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrap {
    /// RFC 3394 with the default IV.
    Plain,
    /// RFC 5649.
    Padded,
}

/// The longest text that is wrapped; far below what the library's 32-bit counters take.
const LONGEST_WRAP: usize = 1 << 24;

/// Wraps `plaintext` under an AES key of 16, 24 or 32 bytes. `None` if a length does not fit.
///
/// aws-lc-rs has this for two of the three key sizes; one way for all three is less to go wrong.
pub(crate) fn aes_wrap(key: &[u8], wrap: Wrap, plaintext: &[u8]) -> Option<Vec<u8>> {
    let whole = plaintext.len() >= 16 && plaintext.len().is_multiple_of(8);
    if plaintext.is_empty() || plaintext.len() > LONGEST_WRAP || (wrap == Wrap::Plain && !whole) {
        return None;
    }
    let schedule = AesKey::new(key, sys::AES_set_encrypt_key)?;
    let mut out = vec![0; plaintext.len().next_multiple_of(8) + 8];
    match wrap {
        Wrap::Plain => {
            // SAFETY: schedule and input are valid, the input's length is a multiple of 8 and at least 16, and the
            // output is 8 bytes longer, as the function needs. A null IV asks for the default.
            let len = unsafe {
                sys::AES_wrap_key(schedule.as_ptr(), null(), out.as_mut_ptr(), plaintext.as_ptr(), plaintext.len())
            };
            (usize::try_from(len).ok()? == out.len()).then_some(out)
        }
        Wrap::Padded => {
            let mut len = 0;
            // SAFETY: schedule, input and output are valid for the lengths given; the function checks the output's.
            let done = unsafe {
                sys::AES_wrap_key_padded(
                    schedule.as_ptr(),
                    out.as_mut_ptr(),
                    &raw mut len,
                    out.len(),
                    plaintext.as_ptr(),
                    plaintext.len(),
                )
            };
            (done == 1 && len == out.len()).then_some(out)
        }
    }
}

/// Unwraps; `None` for anything that was not wrapped under this key in this way.
pub(crate) fn aes_unwrap(key: &[u8], wrap: Wrap, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let shortest = if wrap == Wrap::Plain { 24 } else { 16 };
    if wrapped.len() < shortest || wrapped.len() > LONGEST_WRAP || !wrapped.len().is_multiple_of(8) {
        return None;
    }
    let schedule = AesKey::new(key, sys::AES_set_decrypt_key)?;
    let mut out = Zeroizing::new(vec![0; wrapped.len()]);
    let mut len = 0;
    let done = match wrap {
        Wrap::Plain => {
            // SAFETY: schedule and input are valid, the input's length is a multiple of 8 and at least 24, and the
            // output is longer than the input less 8 bytes. A null IV asks for the default.
            let written = unsafe {
                sys::AES_unwrap_key(schedule.as_ptr(), null(), out.as_mut_ptr(), wrapped.as_ptr(), wrapped.len())
            };
            len = usize::try_from(written).ok()?;
            len == wrapped.len() - 8
        }
        Wrap::Padded => {
            // SAFETY: schedule, input and output are valid for the lengths given; the output is as long as the input.
            let done = unsafe {
                sys::AES_unwrap_key_padded(
                    schedule.as_ptr(),
                    out.as_mut_ptr(),
                    &raw mut len,
                    out.len(),
                    wrapped.as_ptr(),
                    wrapped.len(),
                )
            };
            done == 1 && len <= out.len()
        }
    };
    if !done {
        return None;
    }
    out.truncate(len);
    Some(out)
}

/// An expanded AES key, wiped on drop.
struct AesKey(Box<sys::AES_KEY>);

type SetKey = unsafe extern "C" fn(*const u8, c_uint, *mut sys::AES_KEY) -> c_int;

impl AesKey {
    fn new(key: &[u8], set: SetKey) -> Option<Self> {
        let bits = match key.len() {
            16 => 128,
            24 => 192,
            32 => 256,
            _ => return None,
        };
        // SAFETY: the structure is plain numbers, for which all zeros is a value.
        let mut schedule = Box::new(unsafe { MaybeUninit::<sys::AES_KEY>::zeroed().assume_init() });
        // SAFETY: the key is valid for the number of bits given, and the schedule is writable.
        let done = unsafe { set(key.as_ptr(), bits, &raw mut *schedule) };
        let this = Self(schedule);
        (done == 0).then_some(this)
    }

    fn as_ptr(&self) -> *const sys::AES_KEY {
        &raw const *self.0
    }
}

impl Drop for AesKey {
    fn drop(&mut self) {
        // SAFETY: the range is the structure that we own, and all zeros is a value of it.
        unsafe { sys::OPENSSL_cleanse((&raw mut *self.0).cast(), size_of::<sys::AES_KEY>()) }
    }
}

/// What is given to ML-DSA to sign.
#[derive(Clone, Copy)]
pub(crate) enum Message<'a> {
    /// The message itself, with a context of at most 255 bytes.
    Whole {
        /// The context; empty for none.
        context: &'a [u8],
    },
    /// The 64-byte message representative.
    Mu,
}

/// An ML-DSA private key.
pub(crate) struct MlDsaPrivateKey {
    set: MlDsa,
    key: Pkey,
}

// SAFETY: the library allows a key to be used by several threads at once as long as none changes it. Nothing here changes
// a key after it is made.
unsafe impl Send for MlDsaPrivateKey {}
// SAFETY: as above.
unsafe impl Sync for MlDsaPrivateKey {}

impl MlDsaPrivateKey {
    /// Reads a 32-byte seed or an expanded private key.
    pub(crate) fn from_bytes(set: MlDsa, bytes: &[u8]) -> Option<Self> {
        // SAFETY: the pointer is valid for the length given; the function refuses lengths other than its two.
        let key = unsafe {
            Pkey::take(
                sys::EVP_PKEY_pqdsa_new_raw_private_key(nid(set), bytes.as_ptr(), bytes.len()),
                sys::EVP_PKEY_free,
            )
        }?;
        Some(Self { set, key })
    }

    /// The public key, encoded.
    pub(crate) fn public(&self) -> Option<Box<[u8]>> {
        let mut out = vec![0; ml_dsa_public_len(self.set)].into_boxed_slice();
        let mut len = out.len();
        // SAFETY: the key is valid, and the buffer has the length given.
        let done = unsafe { sys::EVP_PKEY_get_raw_public_key(self.key.as_ptr(), out.as_mut_ptr(), &raw mut len) };
        (done == 1 && len == out.len()).then_some(out)
    }

    /// Signs. `None` if the context is longer than 255 bytes or mu is not 64 bytes.
    pub(crate) fn sign(&self, message: &[u8], mode: Message<'_>) -> Option<Vec<u8>> {
        let mut out = vec![0; ml_dsa_signature_len(self.set)];
        let mut len = out.len();
        let done = match mode {
            Message::Whole { context } => {
                let signing = Digesting::new(&self.key, context, sys::EVP_DigestSignInit)?;
                // SAFETY: the context was initialized for signing; both buffers are valid for their lengths.
                unsafe {
                    sys::EVP_DigestSign(
                        signing.0.as_ptr(),
                        out.as_mut_ptr(),
                        &raw mut len,
                        message.as_ptr(),
                        message.len(),
                    )
                }
            }
            Message::Mu if message.len() == 64 => {
                let signing = pkey_context(&self.key, sys::EVP_PKEY_sign_init)?;
                // SAFETY: the context was initialized for signing; both buffers are valid for their lengths.
                unsafe {
                    sys::EVP_PKEY_sign(
                        signing.as_ptr(),
                        out.as_mut_ptr(),
                        &raw mut len,
                        message.as_ptr(),
                        message.len(),
                    )
                }
            }
            Message::Mu => return None,
        };
        (done == 1 && len == out.len()).then_some(out)
    }
}

/// An ML-DSA public key.
pub(crate) struct MlDsaPublicKey {
    set: MlDsa,
    key: Pkey,
}

impl MlDsaPublicKey {
    /// Reads an encoded public key.
    pub(crate) fn from_bytes(set: MlDsa, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != ml_dsa_public_len(set) {
            return None;
        }
        // SAFETY: the pointer is valid for the length given.
        let key = unsafe {
            Pkey::take(
                sys::EVP_PKEY_pqdsa_new_raw_public_key(nid(set), bytes.as_ptr(), bytes.len()),
                sys::EVP_PKEY_free,
            )
        }?;
        Some(Self { set, key })
    }

    /// Whether `signature` is valid. Wrong lengths are not.
    pub(crate) fn verify(&self, message: &[u8], mode: Message<'_>, signature: &[u8]) -> bool {
        if signature.len() != ml_dsa_signature_len(self.set) {
            return false;
        }
        let done = match mode {
            Message::Whole { context } => {
                let Some(verifying) = Digesting::new(&self.key, context, sys::EVP_DigestVerifyInit) else {
                    return false;
                };
                // SAFETY: the context was initialized for verifying; both buffers are valid for their lengths.
                unsafe {
                    sys::EVP_DigestVerify(
                        verifying.0.as_ptr(),
                        signature.as_ptr(),
                        signature.len(),
                        message.as_ptr(),
                        message.len(),
                    )
                }
            }
            Message::Mu if message.len() == 64 => {
                let Some(verifying) = pkey_context(&self.key, sys::EVP_PKEY_verify_init) else {
                    return false;
                };
                // SAFETY: the context was initialized for verifying; both buffers are valid for their lengths.
                unsafe {
                    sys::EVP_PKEY_verify(
                        verifying.as_ptr(),
                        signature.as_ptr(),
                        signature.len(),
                        message.as_ptr(),
                        message.len(),
                    )
                }
            }
            Message::Mu => return false,
        };
        done == 1
    }
}

/// A context that hashes a message as part of signing or verifying it.
struct Digesting(Owned<sys::EVP_MD_CTX>);

type DigestInit = unsafe extern "C" fn(
    *mut sys::EVP_MD_CTX,
    *mut *mut sys::EVP_PKEY_CTX,
    *const sys::EVP_MD,
    *mut sys::ENGINE,
    *mut sys::EVP_PKEY,
) -> c_int;

impl Digesting {
    fn new(key: &Pkey, context: &[u8], init: DigestInit) -> Option<Self> {
        if context.len() > 255 {
            return None;
        }
        // SAFETY: EVP_MD_CTX_new has no preconditions.
        let digesting = unsafe { Owned::take(sys::EVP_MD_CTX_new(), sys::EVP_MD_CTX_free) }?;
        let mut inner = null_mut();
        // SAFETY: context and key are valid; ML-DSA takes no digest, which null says. The context takes a reference of its
        // own on the key. `inner` is owned by the context.
        let ready = unsafe { init(digesting.as_ptr(), &raw mut inner, null(), null_mut(), key.as_ptr()) } == 1
            && (context.is_empty()
                    // SAFETY: `inner` was set by the successful call before; the bytes are valid for their length and copied.
                    || unsafe {
                        sys::EVP_PKEY_CTX_set1_signature_context_string(inner, context.as_ptr(), context.len())
                    } == 1);
        ready.then_some(Self(digesting))
    }
}

fn pkey_context(
    key: &Pkey,
    init: unsafe extern "C" fn(*mut sys::EVP_PKEY_CTX) -> c_int,
) -> Option<Owned<sys::EVP_PKEY_CTX>> {
    // SAFETY: the key is valid, and the context takes a reference of its own on it.
    let ctx = unsafe { Owned::take(sys::EVP_PKEY_CTX_new(key.as_ptr(), null_mut()), sys::EVP_PKEY_CTX_free) }?;
    // SAFETY: the context is valid.
    (unsafe { init(ctx.as_ptr()) } == 1).then_some(ctx)
}

fn nid(set: MlDsa) -> c_int {
    match set {
        MlDsa::MlDsa44 => sys::NID_MLDSA44,
        MlDsa::MlDsa65 => sys::NID_MLDSA65,
        MlDsa::MlDsa87 => sys::NID_MLDSA87,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn key_wrap_gives_the_published_values() {
        // RFC 3394, sections 4.1 to 4.6, and RFC 5649, section 6.
        let key = hex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
        let text = hex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
        for (key_len, text_len, wrapped) in [
            (16, 16, "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"),
            (24, 16, "96778B25AE6CA435F92B5B97C050AED2468AB8A17AD84E5D"),
            (32, 16, "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"),
            (24, 24, "031D33264E15D33268F24EC260743EDCE1C6C7DDEE725A936BA814915C6762D2"),
            (32, 24, "A8F9BC1612C68B3FF6E6F4FBE30E71E4769C8B80A32CB8958CD5D17D6B254DA1"),
            (32, 32, "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"),
        ] {
            let (key, text) = (&key[..key_len], &text[..text_len]);
            assert_eq!(aes_wrap(key, Wrap::Plain, text).unwrap(), hex(wrapped));
            assert_eq!(**aes_unwrap(key, Wrap::Plain, &hex(wrapped)).unwrap(), *text);
        }
        let key = hex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
        for (text, wrapped) in [
            (
                "c37b7e6492584340bed12207808941155068f738",
                "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
            ),
            ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
        ] {
            assert_eq!(aes_wrap(&key, Wrap::Padded, &hex(text)).unwrap(), hex(wrapped));
            assert_eq!(**aes_unwrap(&key, Wrap::Padded, &hex(wrapped)).unwrap(), *hex(text));
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused_before_the_library_sees_them() {
        for key_len in [0, 1, 15, 17, 31, 33, 64] {
            assert!(aes_wrap(&vec![1; key_len], Wrap::Plain, &[0; 16]).is_none());
            assert!(aes_unwrap(&vec![1; key_len], Wrap::Padded, &[0; 16]).is_none());
        }
        for len in [0, 8, 15, 17, 23] {
            assert!(aes_wrap(&[1; 16], Wrap::Plain, &vec![0; len]).is_none());
        }
        for len in [0, 1, 8, 15, 16, 17, 23, 25] {
            assert!(aes_unwrap(&[1; 16], Wrap::Plain, &vec![0; len]).is_none());
            assert!(aes_unwrap(&[1; 16], Wrap::Padded, &vec![0; len]).is_none());
        }
        assert!(
            generate_rsa(1024, 65537).is_none() && generate_rsa(2048, 4).is_none() && generate_rsa(2048, 1).is_none()
        );
        assert!(RsaPrivateKey::from_pkcs8(&[]).is_none() && RsaPrivateKey::from_pkcs8(&[0x30; 64]).is_none());
        assert!(rsa_verify_raw(&[0xff; 256], &[3], &[1; 255]).is_none());
        assert!(rsa_verify_raw(&[0; 256], &[0], &[1; 256]).is_none());
        assert!(recover_rsa_factors(&[], &[], &[]).is_none() && recover_rsa_factors(&[15], &[1], &[1]).is_none());
        for set in MlDsa::ALL {
            for len in [0, 31, 33, 5000] {
                assert!(MlDsaPrivateKey::from_bytes(*set, &vec![1; len]).is_none());
                assert!(MlDsaPublicKey::from_bytes(*set, &vec![1; len]).is_none());
            }
        }
        let key = MlDsaPrivateKey::from_bytes(MlDsa::MlDsa44, &[1; 32]).unwrap();
        assert!(key.sign(&[0; 63], Message::Mu).is_none());
        assert!(key.sign(&[], Message::Whole { context: &[0; 256] }).is_none());
    }
}
