//! Small functions: time, random numbers, hashes, encodings, secrets, metrics.

use std::rc::Rc;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mlua::{Lua, LuaString, Table, Value};

use super::{names, serving};
use crate::budget::Shared;

/// Adds the functions to `gw`.
pub(super) fn install(lua: &Lua, gw: &Table, shared: &Rc<Shared>) -> mlua::Result<()> {
    let state = shared.clone();
    let now = move |_: &Lua, ()| Ok(serving(&state, "gw.now")?.1.unix_micros() as f64 / 1e6);
    gw.raw_set("now", lua.create_function(now)?)?;
    let state = shared.clone();
    let random = move |_: &Lua, ()| Ok(fraction(serving(&state, "gw.random")?.1.random()));
    gw.raw_set("random", lua.create_function(random)?)?;
    let state = shared.clone();
    let uuid = move |_: &Lua, ()| {
        let (_, host) = serving(&state, "gw.uuid")?;
        Ok(uuid(host.random(), host.random()))
    };
    gw.raw_set("uuid", lua.create_function(uuid)?)?;
    let state = shared.clone();
    let secret = move |lua: &Lua, name: LuaString| {
        let (_, host) = serving(&state, "gw.secret")?;
        let secret = host.secret(&names::name("secret", &name)?);
        secret.map(|secret| lua.create_string(secret.as_bytes())).transpose()
    };
    gw.raw_set("secret", lua.create_function(secret)?)?;
    let state = shared.clone();
    let metric = move |_: &Lua, (name, by): (LuaString, Value)| {
        let (_, host) = serving(&state, "gw.metric")?;
        let by = if by.is_nil() { 1.0 } else { names::number("the increment", &by, 0.0, 1e15)? };
        host.count(&names::name("metric", &name)?, by);
        Ok(())
    };
    gw.raw_set("metric", lua.create_function(metric)?)?;
    let state = shared.clone();
    let hash = move |_: &Lua, text: LuaString| {
        state.charge(text.as_bytes().len())?;
        Ok(fraction(hash(&names::text("the text of gw.hash", &text)?)))
    };
    gw.raw_set("hash", lua.create_function(hash)?)?;
    let state = shared.clone();
    let sha256 = move |_: &Lua, text: LuaString| {
        state.charge(text.as_bytes().len() * HASH_COST)?;
        Ok(hex(digest::digest(&digest::SHA256, &names::text("the text of gw.sha256", &text)?).as_ref()))
    };
    gw.raw_set("sha256", lua.create_function(sha256)?)?;
    let state = shared.clone();
    let sign = move |_: &Lua, (key, text): (LuaString, LuaString)| {
        state.charge((key.as_bytes().len() + text.as_bytes().len()) * HASH_COST)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &names::text("the key of gw.hmac", &key)?);
        Ok(hex(hmac::sign(&key, &names::text("the text of gw.hmac", &text)?).as_ref()))
    };
    gw.raw_set("hmac", lua.create_function(sign)?)?;
    gw.raw_set("base64", base64(lua, shared)?)
}

/// Steps of hashing a byte in those of going through it.
const HASH_COST: usize = 4;

/// `gw.base64`: `encode`, `decode`, and both for URLs without padding.
fn base64(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (encode, decode, engine) in
        [("encode", "decode", STANDARD), ("url_encode", "url_decode", URL_SAFE_NO_PAD)]
    {
        let (state, codec) = (shared.clone(), engine.clone());
        let encoder = move |lua: &Lua, text: LuaString| {
            state.charge(text.as_bytes().len())?;
            lua.create_string(codec.encode(names::text("the text of gw.base64", &text)?))
        };
        table.raw_set(encode, lua.create_function(encoder)?)?;
        let state = shared.clone();
        let decoder = move |lua: &Lua, text: LuaString| {
            state.charge(text.as_bytes().len())?;
            match engine.decode(names::text("the text of gw.base64", &text)?) {
                Ok(bytes) => Ok((Some(lua.create_string(bytes)?), None)),
                Err(_) => Ok((None, Some("not base64"))),
            }
        };
        table.raw_set(decode, lua.create_function(decoder)?)?;
    }
    table.set_readonly(true);
    Ok(table)
}

/// The upper 53 bits as a number from 0 to below 1.
fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// FNV-1a with the finalizer of MurmurHash3: the same on all cores and in all versions, since canaries are
/// split by it.
fn hash(text: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random UUID (RFC 9562 §5.4).
fn uuid(high: u64, low: u64) -> String {
    let high = high & !0xf000 | 0x4000;
    let low = low & (u64::MAX >> 2) | 1 << 63;
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}
