//! No two files of the library depend on each other, directly or by way of others: each can be read after those that it uses.
//!
//! A file depends on another where it names something that stands there, by `use` or by a path. That a file hands out what
//! another defines (`pub use`) is a name, not a dependency, unless it uses it itself. Tests beside the code do not count.

#![allow(missing_docs, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// Names from `crate` on; empty for `lib.rs`.
type Module = Vec<String>;

/// What one file says.
#[derive(Default)]
struct File {
    /// By the name that it has here: the path, and whether only here.
    imports: BTreeMap<String, (Vec<String>, bool)>,
    /// Every path that stands in it, with the modules inside the file that it stands in.
    paths: BTreeSet<(usize, Vec<String>)>,
    /// Modules inside the file, around what is visited.
    inside: usize,
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| a.path().is_ident("cfg") && a.parse_args::<syn::Ident>().is_ok_and(|i| i == "test"))
}

impl File {
    fn import(&mut self, tree: &UseTree, before: &[String], private: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &with(&path.ident), private),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before, private)),
            UseTree::Name(name) if name.ident == "self" => {
                self.imports.insert(before.last().cloned().unwrap_or_default(), (before.to_vec(), private));
            }
            UseTree::Name(name) => {
                self.imports.insert(name.ident.to_string(), (with(&name.ident), private));
            }
            UseTree::Rename(rename) => {
                let path = if rename.ident == "self" { before.to_vec() } else { with(&rename.ident) };
                self.imports.insert(rename.rename.to_string(), (path, private));
            }
            UseTree::Glob(_) => {}
        }
    }

    /// The paths in what a macro is given, which is not parsed.
    fn tokens(&mut self, stream: TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for token in stream {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.named(&mut path);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(p) if p.as_char() == ':' => colons += 1,
                other => {
                    self.named(&mut path);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.named(&mut path);
    }

    fn named(&mut self, path: &mut Vec<String>) {
        if !path.is_empty() {
            self.paths.insert((self.inside, std::mem::take(path)));
        }
    }
}

impl<'a> Visit<'a> for File {
    fn visit_item(&mut self, item: &'a Item) {
        match item {
            Item::Use(item) => {
                let private = matches!(item.vis, syn::Visibility::Inherited);
                self.import(&item.tree, &[], private);
            }
            Item::Mod(item) if is_test(&item.attrs) => {}
            Item::Mod(_) => {
                self.inside += 1;
                visit::visit_item(self, item);
                self.inside -= 1;
            }
            Item::Fn(item) if is_test(&item.attrs) => {}
            item => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        self.named(&mut path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'a syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

/// All files of the library.
struct Library(BTreeMap<Module, File>);

impl Library {
    fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        for entry in walkdir::WalkDir::new(folder) {
            let entry = entry.expect("src can be read");
            let below = entry.path().strip_prefix(folder).expect("below src");
            if entry.path().extension().is_none_or(|e| e != "rs") || below == Path::new("main.rs") {
                continue;
            }
            let mut module: Module =
                below.with_extension("").iter().map(|p| p.to_string_lossy().into_owned()).collect();
            match module.last().map(String::as_str) {
                Some("mod" | "lib") => drop(module.pop()),
                Some("tests") => continue,
                _ => {}
            }
            let text = std::fs::read_to_string(entry.path()).expect("a file");
            let mut file = File::default();
            file.visit_file(&syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", entry.path().display())));
            files.insert(module, file);
        }
        Self(files)
    }

    /// The file that defines what `path` in `from` names, and whether that is the file itself and no item of it.
    fn defines(&self, from: &[String], inside: usize, path: &[String], left: usize) -> Option<(Module, bool)> {
        let (first, rest) = path.split_first()?;
        let mut at = from.to_vec();
        let mut rest = match first.as_str() {
            "crate" => {
                at.clear();
                rest
            }
            "self" => rest,
            "super" => {
                let up = path.iter().take_while(|name| *name == "super").count();
                let out = up.saturating_sub(inside);
                at.truncate(at.len().checked_sub(out)?);
                &path[up..]
            }
            _ => path,
        };
        while let Some((name, after)) = rest.split_first() {
            let below = [&at[..], std::slice::from_ref(name)].concat();
            if self.0.contains_key(&below) {
                (at, rest) = (below, after);
            } else if let Some((import, _)) =
                self.0.get(&at).and_then(|file| file.imports.get(name)).filter(|_| left > 0)
            {
                return self.defines(&at, 0, &[import, after].concat(), left - 1);
            } else {
                // A name that nobody here knows is a crate's or the language's, unless it was looked for in a module.
                return (rest.len() < path.len() || at != from).then_some((at, false));
            }
        }
        Some((at, true))
    }

    /// For each file, those that it depends on with the names that say so.
    fn edges(&self) -> BTreeMap<&Module, BTreeMap<Module, BTreeSet<String>>> {
        const DEPTH: usize = 8;
        let edges_of = |(module, file): (&'_ Module, &File)| {
            let mut edges: BTreeMap<Module, BTreeSet<String>> = BTreeMap::new();
            let imports = file.imports.values().filter(|(_, private)| *private).map(|(path, _)| (0, path));
            let paths = file.paths.iter().map(|(inside, path)| (*inside, path));
            for (inside, path) in imports.chain(paths) {
                if let Some((to, false)) = self.defines(module, inside, path, DEPTH)
                    && to != *module
                {
                    edges.entry(to).or_default().insert(path.join("::"));
                }
            }
            edges
        };
        self.0.iter().map(|entry| (entry.0, edges_of(entry))).collect()
    }
}

/// A way from `module` back to itself.
fn circle<'a>(
    edges: &'a BTreeMap<&Module, BTreeMap<Module, BTreeSet<String>>>,
    module: &'a Module,
) -> Option<Vec<&'a Module>> {
    let mut before: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut next = vec![module];
    while let Some(at) = next.pop() {
        for to in edges.get(at).into_iter().flatten().map(|(to, _)| to) {
            if to == module {
                let mut way = vec![module, at];
                while *way.last()? != module {
                    way.push(before.get(way.last()?).copied()?);
                }
                way.reverse();
                return Some(way);
            }
            if !before.contains_key(to) {
                before.insert(to, at);
                next.insert(0, to);
            }
        }
    }
    None
}

#[test]
fn no_files_depend_on_each_other() {
    let library = Library::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    let edges = library.edges();
    assert!(edges.len() > 100 && edges.values().map(BTreeMap::len).sum::<usize>() > 500, "{} files", edges.len());
    let name = |module: &Module| if module.is_empty() { "lib".to_owned() } else { module.join("/") };
    let circles: BTreeSet<String> = edges
        .keys()
        .filter_map(|module| circle(&edges, module))
        .map(|way| {
            let step = |pair: &[&Module]| {
                let names = edges[pair[0]][pair[1]].iter().take(3).cloned().collect::<Vec<_>>().join(", ");
                format!("{} uses {} ({names})", name(pair[0]), name(pair[1]))
            };
            way.windows(2).map(step).collect::<Vec<_>>().join("; ")
        })
        .collect();
    assert!(
        circles.is_empty(),
        "{} files in circles:\n{}",
        circles.len(),
        circles.iter().cloned().collect::<Vec<_>>().join("\n")
    );
}
