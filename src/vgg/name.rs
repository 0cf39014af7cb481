//! What a network is called: in folders, on the page and in sentences. Nothing else makes up a name of one.

use super::network::{Head, Network};

impl Network {
    /// A short name for people and for run folders: `vgg11`, `vgg16c`, `vgg11-lrn`.
    pub fn short_name(&self) -> String {
        self.named("vgg", "c", "-lrn")
    }

    /// Its column of Table 1 where little room is: `VGG-16 with 1×1`.
    pub fn brief(&self) -> String {
        self.named("VGG-", " with 1×1", " with LRN")
    }

    /// The same at the end of a curve: `VGG-16 1×1`.
    pub fn label(&self) -> String {
        self.named("VGG-", " 1×1", " with LRN")
    }

    /// Its column of Table 1 for people: `VGG-16 with 1x1 convolutions`.
    pub fn column(&self) -> String {
        self.named("VGG-", " with 1x1 convolutions", " with local response normalisation")
    }

    /// A name for people: `VGG-16 with 1x1 convolutions, width 0.25, no batch normalisation`.
    pub fn title(&self) -> String {
        let mut title = self.column();
        if (self.width - 1.0).abs() > 1e-9 {
            title.push_str(&format!(", width {}", self.width));
        }
        if !self.batch_norm {
            title.push_str(", no batch normalisation");
        }
        match self.head {
            Head::Classic => {}
            Head::Linear => title.push_str(", one linear layer"),
            Head::Average => title.push_str(", global average and one linear layer"),
        }
        title
    }

    /// The depth, and what stands for 1x1 convolutions and for local response normalisation where it has them.
    fn named(&self, vgg: &str, conv1x1: &str, lrn: &str) -> String {
        let has = |has: bool, words| if has { words } else { "" };
        format!("{vgg}{}{}{}", self.depth, has(self.conv1x1, conv1x1), has(self.lrn, lrn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_a_name_for_each_place() {
        let c = Network { depth: 16, conv1x1: true, ..Network::default() };
        let lrn = Network { lrn: true, width: 0.25, batch_norm: false, head: Head::Average, ..Network::default() };
        let names = |n: &Network| [n.short_name(), n.brief(), n.label(), n.column(), n.title()];
        let column = "VGG-16 with 1x1 convolutions";
        assert_eq!(names(&c), ["vgg16c", "VGG-16 with 1×1", "VGG-16 1×1", column, column]);
        let column = "VGG-11 with local response normalisation";
        let title = format!("{column}, width 0.25, no batch normalisation, global average and one linear layer");
        assert_eq!(names(&lrn), ["vgg11-lrn", "VGG-11 with LRN", "VGG-11 with LRN", column, &title]);
    }
}
