//! `Content-Type` by the ending of a name: the few that are sure, and none is guessed.
//!
//! Source: <https://www.iana.org/assignments/media-types/media-types.xhtml>. No charset is claimed: nobody has looked.

const TYPES: [(&str, &str); 34] = [
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("log", "text/plain"),
    ("md", "text/markdown"),
    ("mjs", "text/javascript"),
    ("mp4", "video/mp4"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("sql", "application/sql"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tgz", "application/gzip"),
    ("toml", "application/toml"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain"),
    ("wasm", "application/wasm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zst", "application/zstd"),
];

pub(crate) const OTHER: &str = "application/octet-stream";

/// What a file of that name is served as.
pub(crate) fn of(name: &str) -> &'static str {
    let name = name.rsplit('/').next().unwrap_or(name);
    let Some((stem, ending)) = name.rsplit_once('.') else { return OTHER };
    let ending = ending.to_ascii_lowercase();
    let found = TYPES.iter().find(|(known, _)| !stem.is_empty() && *known == ending);
    found.map_or(OTHER, |(_, of)| of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_and_nothing_else() {
        let cases = [
            ("a/index.HTML", "text/html"),
            ("backup.tar.gz", "application/gzip"),
            ("access_log", OTHER),
            ("access.log.1", OTHER),
            (".json", OTHER),
            ("v1.2/README", OTHER),
            ("make_jenkins.tmplt.json", "application/json"),
        ];
        for (name, expected) in cases {
            assert_eq!(of(name), expected, "{name}");
        }
    }
}
