"""Random names for runs that nobody named: an adjective and an animal, like `brave-otter`."""

_CALLED = """
able agile amber ample arctic autumn azure balmy blithe bold brave breezy bright brisk calm
candid cheery chipper clever coastal copper coral cosmic cosy crimson crisp curious dapper
daring dawn deft dusky eager early earnest easy electric emerald fabled fair fearless fern
fleet fond free fresh frosty gallant gentle giddy gilded glad golden grand hale handy happy
hardy hazel hearty honest humble indigo ivory jade jaunty jolly jovial keen kind lasting lean
level light lilac limber lively loyal lucid lucky lunar maple meadow mellow merry mild mindful
mint misty modest mossy nimble noble northern ocean olive opal patient peachy pearly plucky
polar polite prime proud prudent quick quiet rapid ready regal robust rosy ruby rustic sage
sandy scarlet serene sharp shiny silent silver sleek smart snowy snug solar sound sparkling
spry stable steady stellar sturdy summer sunny sure swift tall tawny teal tender thrifty tidal
tidy topaz tranquil trusty upbeat valiant velvet verdant vivid warm watchful wild willing
windy wise witty wooded worthy zesty
"""
_CREATURES = """
albatross alpaca antelope avocet badger barbet bat beaver bee bison boar bobcat bullfinch
bunting buzzard camel caribou cat chamois cheetah chough cicada civet condor coot cormorant
coyote crane cricket crow cuckoo curlew deer dingo dolphin dormouse dove dragonfly duck dunlin
eagle egret eider elk ermine falcon ferret finch firefly flamingo fox frog gannet gazelle
gecko gibbon gnu goat godwit goldfinch goose grebe grouse gull hamster hare harrier hawk
hedgehog heron hoopoe hornbill horse hound hyrax ibex ibis iguana impala jackal jackdaw jaguar
jay kestrel kingfisher kite koala kudu ladybird lapwing lark lemming lemur leopard linnet lion
lizard llama lobster loon lynx macaw magpie mallard marmot marten martin mole mongoose moose
moth mouse mule narwhal newt nightjar nuthatch ocelot okapi orca oriole oryx osprey otter owl
ox oyster panda panther parrot partridge pelican penguin perch pheasant pika pipit plover pony
porpoise possum puffin puma quail rabbit raccoon ram raven ray redstart reindeer robin rook
salmon sandpiper seal serval shrew shrike siskin skylark sloth snail snipe sparrow squirrel
starling stilt stoat stork swallow swan swift tapir tern thrush tiger toad toucan trout turtle
viper vole wagtail walrus warbler weasel whale wigeon wolf wombat woodcock woodpecker wren yak
zebra
"""
_ADJECTIVES = tuple(_CALLED.split())
_ANIMALS = tuple(_CREATURES.split())


def slug(chance: int) -> str:
    """The name that belongs to a random number; any non-negative integer will do."""
    rest, adjective = divmod(chance, len(_ADJECTIVES))
    return f"{_ADJECTIVES[adjective]}-{_ANIMALS[rest % len(_ANIMALS)]}"
