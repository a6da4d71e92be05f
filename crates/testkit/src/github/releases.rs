//! Releases and their files.
//!
//! Source: <https://docs.github.com/en/rest/releases>

use http::{StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Answer;
use super::api::{Request, Result, decoded, error, invalid, no_content, not_found, ok, unprocessable};
use super::state::{Release, Repo, now, user};

impl Request<'_> {
    /// <https://docs.github.com/en/rest/releases/releases#create-a-release>
    pub(super) fn create_release(&mut self) -> Result {
        let Some(tag_name) = self.text("tag_name") else {
            return Err(unprocessable("Invalid request.\n\n\"tag_name\" wasn't supplied."));
        };
        let draft = self.body.get("draft").and_then(Value::as_bool).unwrap_or(false);
        let mut release = Release {
            id: self.id,
            target: self.repo.default_branch.clone(),
            name: None,
            body: None,
            draft: true,
            prerelease: false,
            immutable: false,
            created_at: now(),
            published_at: None,
            assets: Vec::new(),
            tag_name,
        };
        let mut fields = self.body.clone();
        self.check_publishable(&release, &fields, draft)?;
        fields["draft"] = json!(draft);
        release.edit(&fields);
        let shown = release.json(self.url, self.full);
        self.repo.releases.push(release);
        Ok(Answer::json(StatusCode::CREATED, shown))
    }

    pub(super) fn edit_release(&mut self, id: &str) -> Result {
        let place = self.repo.releases.iter().position(|release| release.id.to_string() == id);
        let place = place.ok_or_else(not_found)?;
        let release = self.repo.releases.remove(place);
        let draft = self.body.get("draft").and_then(Value::as_bool).unwrap_or(release.draft);
        let fields = self.body.clone();
        let checked = self.check_publishable(&release, &fields, draft);
        let mut release = release;
        let shown = checked.map(|()| {
            let is_new = release.draft && !draft;
            release.edit(&fields);
            if is_new && !release.prerelease {
                self.repo.name_latest(&release.tag_name, &fields);
            }
            if self.repo.immutable && !release.draft {
                release.immutable = true;
                self.repo.used_tags.insert(release.tag_name.clone());
            }
            release.json(self.url, self.full)
        });
        self.repo.releases.insert(place, release);
        shown.map(ok)
    }

    /// A published release has its tag's name alone, and a tag that is missing is made at its target.
    pub(super) fn check_publishable(
        &mut self,
        release: &Release,
        fields: &Value,
        draft: bool,
    ) -> std::result::Result<(), Answer> {
        let text = |name: &str, or: &str| fields.get(name).and_then(Value::as_str).unwrap_or(or).to_owned();
        let (tag, target) = (text("tag_name", &release.tag_name), text("target_commitish", &release.target));
        if draft {
            return Ok(());
        }
        let taken = |other: &&Release| other.id != release.id && !other.draft && other.tag_name == tag;
        if self.repo.releases.iter().any(|other| taken(&other)) {
            return Err(invalid("Release", "tag_name", "already_exists"));
        }
        if release.published_at.is_none() && self.repo.used_tags.contains(&tag) {
            let mut used = invalid("Release", "tag_name", "custom");
            if let Some(body) = &mut used.body {
                body["errors"][0]["message"] = json!("tag_name was used by an immutable release");
            }
            return Err(used);
        }
        let name = format!("refs/tags/{tag}");
        if !self.repo.refs.contains_key(&name) {
            let sha = self
                .repo
                .resolve(&target)
                .ok_or_else(|| invalid("Release", "target_commitish", "invalid"))?;
            self.repo.refs.insert(name, sha);
        }
        Ok(())
    }

    pub(super) fn delete_release(&mut self, id: &str) -> Result {
        let before = self.repo.releases.len();
        self.repo.releases.retain(|release| release.id.to_string() != id);
        if self.repo.releases.len() == before { Err(not_found()) } else { Ok(no_content()) }
    }

    fn place(&self, id: &str) -> std::result::Result<usize, Answer> {
        self.repo.releases.iter().position(|release| release.id.to_string() == id).ok_or_else(not_found)
    }

    /// <https://docs.github.com/en/rest/releases/assets#list-release-assets>
    pub(super) fn assets(&self, id: &str) -> Result {
        let release = self.repo.releases.get(self.place(id)?).ok_or_else(not_found)?;
        Ok(self.page(release.assets.clone()))
    }

    /// <https://docs.github.com/en/rest/releases/assets#upload-a-release-asset>
    pub(super) fn upload_asset(&mut self, id: &str) -> Result {
        let place = self.place(id)?;
        let Some(name) = self.query("name").map(decoded).filter(|name| !name.is_empty()) else {
            return Err(error(StatusCode::BAD_REQUEST, "Bad Content-Length or missing name"));
        };
        // GitHub renames what has special characters.
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-+".contains(c) { c } else { '.' };
        let name: String = name.chars().map(plain).collect();
        let (size, api) = (self.raw.len(), self.api());
        let digest = kit::hex(&Sha256::digest(&self.raw));
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let asset = json!({
            "url": format!("{api}/releases/assets/{}", self.id),
            "id": self.id,
            "node_id": format!("RA_{:x}", self.id),
            "name": name,
            "label": null,
            "uploader": user(),
            "content_type": kind,
            "state": "uploaded",
            "size": size,
            "digest": format!("sha256:{digest}"),
            "download_count": 0,
            "created_at": now(),
            "updated_at": now(),
            "browser_download_url": format!("https://github.com/{}/releases/download/x/{name}", self.full),
        });
        let release = self.repo.releases.get_mut(place).ok_or_else(not_found)?;
        if release.immutable {
            return Err(unprocessable("Cannot upload assets to an immutable release."));
        }
        if release.assets.iter().any(|other| other["name"] == name.as_str()) {
            return Err(invalid("ReleaseAsset", "name", "already_exists"));
        }
        release.assets.push(asset.clone());
        Ok(Answer::json(StatusCode::CREATED, asset))
    }

    /// <https://docs.github.com/en/rest/releases/assets#delete-a-release-asset>
    pub(super) fn delete_asset(&mut self, id: &str) -> Result {
        for release in &mut self.repo.releases {
            let before = release.assets.len();
            if release.immutable && release.assets.iter().any(|asset| is(asset, id)) {
                return Err(unprocessable("Cannot delete asset from an immutable release"));
            }
            release.assets.retain(|asset| !is(asset, id));
            if release.assets.len() < before {
                return Ok(no_content());
            }
        }
        Err(not_found())
    }
}

/// Whether the asset has the ID that a path names.
fn is(asset: &Value, id: &str) -> bool {
    id.parse::<u64>().is_ok_and(|id| asset["id"] == id)
}

impl Repo {
    /// By default what is published last is the latest release; `legacy` leaves it to date and version.
    ///
    /// Source: <https://docs.github.com/en/rest/releases/releases#update-a-release>
    fn name_latest(&mut self, tag: &str, fields: &Value) {
        let numbers = |tag: &str| -> Vec<u64> {
            tag.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
        };
        let is_later = self.latest.as_deref().is_none_or(|latest| numbers(latest) < numbers(tag));
        if fields.get("make_latest").is_none_or(|it| it != "legacy") || is_later {
            self.latest = Some(tag.to_owned());
        }
    }
}
