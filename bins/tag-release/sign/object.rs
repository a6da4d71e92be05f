//! What a tag object says, and how a verification of it ended. Pure.

use kit::one_line;
use serde::Serialize;

use super::Format;

/// A tag object. Source: <https://git-scm.com/docs/git-mktag>, <https://git-scm.com/docs/gitformat-signature>
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// What it is on.
    pub(crate) on: String,
    pub(crate) on_kind: String,
    pub(crate) name: String,
    pub(crate) message: String,
    /// Absent where it has no signature.
    pub(crate) signed: Option<Format>,
}

const MARKS: [(&str, Format); 3] = [
    ("-----BEGIN PGP SIGNATURE-----", Format::Openpgp),
    ("-----BEGIN PGP MESSAGE-----", Format::Openpgp),
    ("-----BEGIN SSH SIGNATURE-----", Format::Ssh),
];

/// Reads `git cat-file tag`.
pub(crate) fn parse(text: &str) -> Option<Object> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let header = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
    };
    let mut at = 0;
    let mut signature = None;
    for line in body.split_inclusive('\n') {
        // The last one is the signature; one before it is part of the message.
        if let Some((_, format)) = MARKS.iter().find(|(mark, _)| line.starts_with(mark)) {
            signature = Some((at, *format));
        }
        at += line.len();
    }
    let message = signature.and_then(|(at, _)| body.get(..at)).unwrap_or(body);
    Some(Object {
        on: header("object")?,
        on_kind: header("type")?,
        name: header("tag")?,
        message: message.to_owned(),
        signed: signature.map(|(_, format)| format),
    })
}

/// What `git verify-tag` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "text")]
pub(crate) enum Checked {
    /// Good, by a signer that is known.
    Good(String),
    /// Good by its own key; whose that is can't be told here.
    KeyOnly(String),
    Bad(String),
}

/// Reads what `git verify-tag --raw` said. `strangers` are let pass where there is no list of signers to compare with.
pub(crate) fn checked(ok: bool, said: &str, strangers: bool) -> Checked {
    let lines: Vec<String> = said.lines().map(one_line).filter(|line| !line.trim().is_empty()).collect();
    // https://github.com/gpg/gnupg/blob/master/doc/DETAILS#goodsig-long_keyid_or_fpr-username
    let by_gpg = lines.iter().find_map(|line| line.strip_prefix("[GNUPG:] GOODSIG "));
    let by_ssh = lines.iter().find(|line| line.starts_with("Good \"git\" signature"));
    match (by_gpg, by_ssh) {
        (Some(signer), _) if ok => Checked::Good(format!("good OpenPGP signature by {signer}")),
        (_, Some(line)) if ok => Checked::Good(line.clone()),
        (_, Some(line)) if strangers => Checked::KeyOnly(line.clone()),
        _ if ok => Checked::Good("git verify-tag found it good".to_owned()),
        _ => {
            let told = |line: &&String| !line.starts_with("[GNUPG:]");
            let plain: Vec<&str> = lines.iter().filter(told).map(String::as_str).collect();
            Checked::Bad(if plain.is_empty() { lines.join("\n") } else { plain.join("\n") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The object of <https://git-scm.com/docs/gitformat-signature#_tag_signatures>, its signature shortened.
    const SIGNED: &str = "object 04b871796dc0420f8e7561a895b52484b701d51a\ntype commit\ntag signedtag\ntagger C O Mitter <committer@example.com> 1465981006 +0000\n\nsigned tag\n\nsigned tag message body\n-----BEGIN PGP SIGNATURE-----\nVersion: GnuPG v1\n\niQEcBAABAgAGBQJXYRhOAAoJEGEJLoW3InGJklkIAIcnhL7RwEb/+QeX9enkXhxn\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn the_message_ends_where_the_signature_begins() {
        let object = parse(SIGNED).unwrap();
        assert_eq!(object.on, "04b871796dc0420f8e7561a895b52484b701d51a");
        assert_eq!((object.on_kind.as_str(), object.name.as_str()), ("commit", "signedtag"));
        assert_eq!(object.message, "signed tag\n\nsigned tag message body\n");
        assert_eq!(object.signed, Some(Format::Openpgp));
        let bare = parse(SIGNED.split_once("-----BEGIN").unwrap().0).unwrap();
        assert_eq!((bare.message, bare.signed), (object.message, None));
        assert_eq!(parse("tree 0\n\nno tag"), None);
    }

    /// The lines of <https://github.com/gpg/gnupg/blob/master/doc/DETAILS> and of git's `gpg-interface.c` with ssh-keygen's words.
    #[test]
    fn whose_signature_it_is() {
        let gpg = "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 61092E85B7227189 Ada <ada@example.com>\n[GNUPG:] TRUST_UNDEFINED\n";
        assert_eq!(
            checked(true, gpg, false),
            Checked::Good("good OpenPGP signature by 61092E85B7227189 Ada <ada@example.com>".into())
        );
        let ssh = "Good \"git\" signature with ED25519 key SHA256:abc\nNo principal matched.\n";
        let alone = "Good \"git\" signature with ED25519 key SHA256:abc";
        assert_eq!(checked(false, ssh, true), Checked::KeyOnly(alone.into()));
        assert!(matches!(checked(false, ssh, false), Checked::Bad(why) if why.contains("No principal")));
        let bad = "[GNUPG:] BADSIG 61092E85B7227189 Ada <ada@example.com>\n";
        assert!(matches!(checked(false, bad, true), Checked::Bad(_)));
        // A revoked or expired key's signature is good, and git ends with 1.
        assert!(matches!(checked(false, gpg, true), Checked::Bad(_)));
    }
}
