//! A pair of keys of age, to look into what a step encrypted.

use std::io::Read as _;

use age::x25519::Identity;

/// A secret key and its public one.
pub struct Pair(Identity);

impl Pair {
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        Self(Identity::generate())
    }

    /// As `--age-recipient` takes it.
    pub fn public(&self) -> String {
        self.0.to_public().to_string()
    }

    /// As a file of `age-keygen` has it.
    pub fn secret(&self) -> String {
        use age::secrecy::ExposeSecret as _;
        self.0.to_string().expose_secret().to_owned()
    }

    /// What was encrypted to it.
    ///
    /// # Errors
    /// It was encrypted to another one, or is damaged.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, String> {
        let decryptor = age::Decryptor::new(sealed).map_err(|error| error.to_string())?;
        let keys = std::iter::once(&self.0 as &dyn age::Identity);
        let mut clear = Vec::new();
        let mut reader = decryptor.decrypt(keys).map_err(|error| error.to_string())?;
        reader.read_to_end(&mut clear).map_err(|error| error.to_string())?;
        Ok(clear)
    }
}
