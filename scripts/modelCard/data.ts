/** What the models have learned from, and under which licence it came. Facts of the sources themselves. */
export interface DataSet {
  /** The part of the path that names it. */
  readonly match: string
  readonly title: string
  readonly licence: string
}

const sets: readonly DataSet[] = [
  {
    match: 'tinystories',
    title: 'TinyStories (Eldan and Li 2023), a part of the validation split and further stories',
    licence: 'CDLA-Sharing-1.0',
  },
  { match: 'african_storybook', title: 'African Storybook, English, levels 1 to 5', licence: 'CC BY' },
  { match: 'pratham_storyweaver', title: 'Pratham Books StoryWeaver, English', licence: 'CC BY' },
  {
    match: 'fairytaleqa',
    title: 'The tales of FairytaleQA (Grimm, Lang, Potter ...)',
    licence: 'public domain',
  },
  { match: 'hcandersenr', title: 'H. C. Andersen, 150 tales', licence: 'public domain' },
  { match: 'nltk_bryant', title: 'Bryant, Stories to Tell to Children', licence: 'public domain' },
  { match: 'nltk_burgess', title: 'Burgess, The Adventures of Buster Bear', licence: 'public domain' },
  {
    match: 'pd_children_gutenberg_b',
    title: '13 more books for children of Project Gutenberg',
    licence: 'public domain in the USA',
  },
  {
    match: 'pd_children_gutenberg',
    title: '201 books for children and schools of Project Gutenberg',
    licence: 'public domain in the USA',
  },
  {
    match: 'pd_children_classics_md',
    title: '88 classics for children and young adults',
    licence: 'public domain in the USA',
  },
]

/** A collection of fairy tales of which the models have learned no document. */
export const strangers = { file: 'text/fairytales_misc/fairytales_dhirendra.txt.gz', documents: 28 }

/** The data set of a file; an error for one whose licence is not known here. */
export function cutFiles(file: string): DataSet {
  const found = sets.find(({ match }) => file.includes(match))
  if (!found) throw new Error(`${file}: say in scripts/modelCard/data.ts what it is and under which licence`)
  return found
}
