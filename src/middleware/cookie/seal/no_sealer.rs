//! Without the features `signed` and `private` nothing seals cookies.

#[derive(Clone, Debug)]
pub(in crate::middleware) enum Sealer {}

impl Sealer {
    pub(in crate::middleware) fn has_key(&self) -> bool {
        match *self {}
    }

    pub(in crate::middleware) fn seal(&self, _name: &str, _plain: String) -> String {
        match *self {}
    }

    pub(in crate::middleware) fn open(
        &self,
        _name: &str,
        _sealed: &str,
    ) -> Option<(usize, String)> {
        match *self {}
    }
}
