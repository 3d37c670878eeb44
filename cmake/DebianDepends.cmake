# Run by cpack before it makes a package: sets what the Debian package depends on and what it suggests, from the
# libraries that its binaries name (NEEDED) and the packages that provide them (Debian Policy 8.6.4: each has a file
# `shlibs` with lines "library version dependency"). dpkg-shlibdeps does the same for packages of the machine it runs
# on, but not for those of a sysroot, and not for some binaries apart from others.
if(NOT CPACK_GENERATOR STREQUAL "DEB")
  return()
endif()

# Packages for other architectures (libc6-i386, libc6-arm64-cross) provide libraries of the same names. What may be
# installed for several at once has the architecture in the name of its file, and is looked at first.
file(GLOB files "${CPACK_PARE_SHLIBS}/*:${CPACK_DEBIAN_PACKAGE_ARCHITECTURE}.shlibs")
file(GLOB others "${CPACK_PARE_SHLIBS}/*.shlibs")
list(APPEND files ${others})
set(table "\n")
foreach(file IN LISTS files)
  file(READ ${file} text)
  string(APPEND table "${text}\n")
endforeach()

# Sets `out` to the dependencies of ELF files, as a list.
function(pare_dependencies out)
  foreach(binary IN LISTS ARGN)
    execute_process(COMMAND ${CPACK_PARE_READELF} -d ${binary} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCHALL "NEEDED[^\n]*" lines "${text}")
    foreach(line IN LISTS lines)
      string(REGEX REPLACE ".*\\[(.*)\\].*" "\\1" library "${line}")
      list(APPEND libraries ${library})
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES libraries)
  set(found)
  foreach(library IN LISTS libraries)
    # libcsv.so.3: library libcsv, version 3
    string(REGEX REPLACE "^(.*)\\.so\\.(.*)$" "\\1 \\2" key "${library}")
    string(REGEX REPLACE "([][+.*()^$?|\\])" "\\\\\\1" key "${key}")
    if(NOT table MATCHES "\n${key} ([^\n]*)")
      message(FATAL_ERROR "${library} belongs to no package in ${CPACK_PARE_SHLIBS}, so that a Debian package "
        "cannot depend on it. The archive alone: cpack -G TGZ")
    endif()
    list(APPEND found "${CMAKE_MATCH_1}")
  endforeach()
  list(REMOVE_DUPLICATES found)
  list(SORT found)
  set(${out} "${found}" PARENT_SCOPE)
endfunction()

file(GLOB_RECURSE binaries "${CPACK_TEMPORARY_DIRECTORY}/*/bin/pare" "${CPACK_TEMPORARY_DIRECTORY}/*.so")
set(optional)
foreach(binary IN LISTS binaries)
  get_filename_component(name ${binary} NAME)
  if(name IN_LIST CPACK_PARE_OPTIONAL)
    list(APPEND optional ${binary})
    list(REMOVE_ITEM binaries ${binary})
  endif()
endforeach()
pare_dependencies(depends ${binaries})
pare_dependencies(suggests ${optional})
list(REMOVE_ITEM suggests ${depends})
list(APPEND suggests ${CPACK_DEBIAN_PACKAGE_SUGGESTS})
list(JOIN depends ", " CPACK_DEBIAN_PACKAGE_DEPENDS)
list(JOIN suggests ", " CPACK_DEBIAN_PACKAGE_SUGGESTS)
