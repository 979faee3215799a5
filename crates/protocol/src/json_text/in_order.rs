//! Reads the members of a frame in the order in which the decoder asks for them.

use super::FRAME_DEPTH;
use super::scan::Scan;
use crate::limits::JSON_DEPTH;

/// Goes through a frame while the decoder asks for its members, each once.
///
/// Most frames have their members in the order of the specification, which is the order in which
/// the decoder asks. Such a frame is read in one pass, and nothing of it is stored.
///
/// What was taken is valid only if [`InOrder::is_done`] is true at the end. If it is not, then
/// something is wrong, or in another order, or unknown, and nothing that was taken may be used.
pub(crate) struct InOrder<'a> {
    /// Stands at the name of the next member, or at the end of the object.
    scan: Scan<'a>,
}

/// A position with nothing behind it.
const NOWHERE: usize = usize::MAX;

impl<'a> InOrder<'a> {
    /// Begins to read an object; `None` if the text does not begin like one.
    pub(crate) fn open(text: &'a str) -> Option<InOrder<'a>> {
        let mut scan = Scan { text, at: 0 };
        scan.skip(b'{')?;
        Some(InOrder { scan })
    }

    /// Returns the text of the next member's value, if the member has this name.
    #[inline(always)]
    pub(crate) fn take(&mut self, name: &str) -> Option<&'a str> {
        let start = self.behind(name)?;
        self.value(start)
    }

    /// Returns whether all members were taken and nothing follows.
    pub(crate) fn is_done(&self) -> bool {
        self.scan.text.as_bytes().get(self.scan.at..) == Some(b"}")
    }

    /// Returns where the name ends, if the next member has this name.
    #[inline(always)]
    fn behind(&self, name: &str) -> Option<usize> {
        let rest = self.scan.text.as_bytes().get(self.scan.at..)?;
        let rest = rest.strip_prefix(b"\"")?.strip_prefix(name.as_bytes())?;
        let rest = rest.strip_prefix(b"\"")?;
        Some(self.scan.text.len() - rest.len())
    }

    /// Returns the value behind a name. If there is none, all later calls return `None` too.
    #[inline(never)]
    fn value(&mut self, behind: usize) -> Option<&'a str> {
        let value = self.value_at(behind);
        if value.is_none() {
            self.scan.at = NOWHERE;
        }
        value
    }

    fn value_at(&mut self, behind: usize) -> Option<&'a str> {
        let scan = &mut self.scan;
        scan.at = behind;
        scan.takes(b' ');
        scan.skip(b':')?;
        let start = scan.at;
        // Most values are strings.
        if scan.string().is_none() {
            scan.at = start;
            scan.member(JSON_DEPTH + FRAME_DEPTH - 1)?;
        }
        let value = scan.text.get(start..scan.at)?;
        scan.takes(b' ');
        if scan.byte()? != b'}' {
            scan.skip(b',')?;
            // A comma must be followed by a member.
            (scan.byte()? == b'"').then_some(())?;
        }
        Some(value)
    }
}
