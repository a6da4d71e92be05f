//! What the images of the registry hold, as the stand-in for ECS starts them.

use std::collections::BTreeMap;
use std::io;

use testkit::ecs::ImageSpec;

use super::seed;
use crate::world::Fail;

/// True once both migrations of the release are there.
const MIGRATED: &str = "SELECT to_regclass('public.consent') IS NOT NULL AND EXISTS (SELECT FROM \
                        information_schema.columns WHERE table_name = 'study' AND column_name = 'review_state')";

/// The catalogue, by reference with tag and by digest. With migrations of somebody else's the new image requires none.
pub(super) fn catalogue(
    digests: &BTreeMap<String, String>,
    fail: Option<Fail>,
    own_migrations: bool,
    sidecars: impl IntoIterator<Item = String>,
) -> io::Result<Vec<u8>> {
    let old = ImageSpec { version: seed::OLD.version.to_owned(), ..ImageSpec::default() };
    let new = ImageSpec {
        version: seed::NEW.version.to_owned(),
        requires: (!own_migrations).then(|| MIGRATED.to_owned()),
        exit_code: (fail == Some(Fail::Deploy)).then_some(1),
        wrong_version: (fail == Some(Fail::Sanity)).then(|| "2.1.0.0-SNAPSHOT".to_owned()),
        ..ImageSpec::default()
    };
    let mut images = BTreeMap::new();
    for (release, image) in [(seed::OLD, old), (seed::NEW, new)] {
        let digest = digests.get(release.tag).cloned();
        let image = ImageSpec { digest: digest.clone(), ..image };
        images.insert(format!("{}:{}", seed::repository_uri(), release.tag), image.clone());
        images.extend(digest.map(|digest| (digest, image)));
    }
    images.extend(sidecars.into_iter().map(|image| (image, ImageSpec::default())));
    Ok(serde_json::to_vec_pretty(&images)?)
}
